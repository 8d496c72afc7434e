#include "runtime/ops/collectives.h"

#include <cstring>

namespace trireme {

void SoloCollectives::TreeSum(TensorView, std::string_view) {}

void SoloCollectives::AllGather(ConstTensorView mine, std::span<const int64_t> widths,
                                TensorView all, std::string_view) {
  TRI_CHECK(widths.size() == 1 && mine.bytes() == all.bytes());
  if (mine.bytes() > 0) std::memcpy(all.data, mine.data, static_cast<size_t>(mine.bytes()));
}

}  // namespace trireme
