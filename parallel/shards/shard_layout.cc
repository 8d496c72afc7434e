#include "parallel/shards/shard_layout.h"

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_format.h"
#include "parallel/shards/manifest.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr uint64_t kAlignment = 64;

// The largest power of two, up to kAlignment, that divides a size.
uint64_t AlignmentKept(uint64_t bytes) {
  return bytes == 0 ? kAlignment : std::min(kAlignment, uint64_t{1} << std::countr_zero(bytes));
}

absl::StatusOr<std::vector<SliceLayout>> SlicesOf(const TensorTable& table, const RankShare& share,
                                                  const TensorSource& source) {
  std::vector<SliceLayout> slices;
  for (const HeldSlice& held : share.slices) {
    const TensorSpec& spec = table[held.row];
    TRI_ASSIGN_OR_RETURN(const TensorEntry* entry, FindChecked(source, spec));
    if (entry == nullptr) continue;
    TRI_RETURN_IF_ERROR(CheckWhole(spec, *entry));
    const DType dtype = StoredTypeOf(spec, entry->view.dtype);
    if (spec.transposed && dtype == entry->view.dtype) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: tensor %s has dtype %s; expected F32, F16 or BF16 to quantise",
                          entry->file->path(), entry->name, Name(dtype)));
    }
    SliceLayout layout;
    layout.row = held.row;
    layout.name = spec.name;
    layout.dtype = dtype;
    layout.source_dtype = entry->view.dtype;
    layout.shape = StoredShape(spec, held.slice, dtype);
    layout.region = StoredRegion(spec, held.slice, dtype);
    layout.bytes = static_cast<uint64_t>(ConstTensorView(nullptr, dtype, layout.shape).bytes());
    slices.push_back(std::move(layout));
  }
  std::stable_sort(slices.begin(), slices.end(), [](const SliceLayout& a, const SliceLayout& b) {
    return AlignmentKept(a.bytes) > AlignmentKept(b.bytes);
  });
  return slices;
}

std::string HeaderOf(const RankLayout& layout, const std::string& identity) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "trireme shard"},
                            {std::string(kIdentityKey), identity},
                            {std::string(kRankKey), std::to_string(layout.rank)}};
  uint64_t end = 0;
  for (const SliceLayout& slice : layout.slices) {
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    for (int axis = 0; axis < slice.shape.rank(); ++axis) shape.push_back(slice.shape[axis]);
    header[slice.name] = {{"dtype", std::string(Name(slice.dtype))},
                          {"shape", std::move(shape)},
                          {"data_offsets", {end, end + slice.bytes}}};
    end += slice.bytes;
  }
  std::string text = header.dump();
  constexpr size_t kLengthBytes = 8;
  const size_t whole = (kLengthBytes + text.size() + kAlignment - 1) / kAlignment * kAlignment;
  text.resize(whole - kLengthBytes, ' ');
  std::string bytes(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) bytes[i] = static_cast<char>(text.size() >> (8 * i));
  return bytes + text;
}

}  // namespace

Slice StoredRegion(const TensorSpec& spec, const Slice& slice, DType dtype) {
  Slice region = SourceRegion(spec, slice);
  if (spec.shape.rank() > 1) region.columns = WidenToBlocks(region.columns, dtype);
  return region;
}

absl::StatusOr<std::vector<RankLayout>> LayOutRanks(const TensorTable& table,
                                                    const std::vector<RankShare>& shares,
                                                    const TensorSource& source,
                                                    const std::string& identity) {
  std::vector<RankLayout> layouts;
  for (const RankShare& share : shares) {
    RankLayout layout;
    layout.rank = share.rank;
    layout.file_name = RankFileName(share.rank, static_cast<int>(shares.size()));
    TRI_ASSIGN_OR_RETURN(layout.slices, SlicesOf(table, share, source));
    layout.header = HeaderOf(layout, identity);
    uint64_t end = layout.header.size();
    for (SliceLayout& slice : layout.slices) {
      slice.offset = end;
      end += slice.bytes;
    }
    layout.file_bytes = end;
    layouts.push_back(std::move(layout));
  }
  return layouts;
}

}  // namespace trireme
