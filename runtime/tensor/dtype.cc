#include "runtime/tensor/dtype.h"

#include <array>

#include "runtime/base/check.h"

namespace trireme {
namespace {

constexpr std::array kTraits = {
    DTypeTraits{DType::kF32, "F32", 1, 4},       DTypeTraits{DType::kF16, "F16", 1, 2},
    DTypeTraits{DType::kBF16, "BF16", 1, 2},     DTypeTraits{DType::kF8E4M3, "F8_E4M3", 1, 1},
    DTypeTraits{DType::kI32, "I32", 1, 4},       DTypeTraits{DType::kQ4_0, "Q4_0", 32, 18},
    DTypeTraits{DType::kQ4_1, "Q4_1", 32, 20},   DTypeTraits{DType::kQ5_0, "Q5_0", 32, 22},
    DTypeTraits{DType::kQ5_1, "Q5_1", 32, 24},   DTypeTraits{DType::kQ8_0, "Q8_0", 32, 34},
    DTypeTraits{DType::kQ4_K, "Q4_K", 256, 144}, DTypeTraits{DType::kQ5_K, "Q5_K", 256, 176},
    DTypeTraits{DType::kQ6_K, "Q6_K", 256, 210},
};

}  // namespace

const DTypeTraits& Traits(DType dtype) {
  const DTypeTraits& traits = kTraits[static_cast<size_t>(dtype)];
  TRI_CHECK(traits.dtype == dtype);
  return traits;
}

std::optional<DType> DTypeFromName(std::string_view name) {
  for (const DTypeTraits& traits : kTraits) {
    if (traits.name == name) return traits.dtype;
  }
  return std::nullopt;
}

int64_t RowBytes(DType dtype, int64_t elements) {
  const DTypeTraits& traits = Traits(dtype);
  TRI_CHECK_EQ(elements % traits.block_elements, 0) << traits.name;
  return elements / traits.block_elements * traits.block_bytes;
}

}  // namespace trireme
