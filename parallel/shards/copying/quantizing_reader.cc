#include "parallel/shards/copying/quantizing_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/ops/decode_row.h"
#include "runtime/ops/quantize_row.h"
#include "runtime/ops/scalar_math.h"

namespace trireme {
namespace {

constexpr int64_t kBatchBlocks = 2048;
constexpr uint64_t kTileBytes = 8 << 20;
// Rows of a tile that are transposed together: a cache line of each input's outputs.
constexpr int64_t kRowsAtOnce = 32;

SliceLayout AsInCheckpoint(const SliceLayout& slice) {
  SliceLayout source = slice;
  source.dtype = slice.source_dtype;
  return source;
}

// BF16 is what nearly all checkpoints have.
void ToFloats(DType dtype, const std::byte* from, std::span<float> to) {
  if (dtype != DType::kBF16) {
    DecodeRow(dtype, from, {0, static_cast<int64_t>(to.size())}, to);
    return;
  }
  for (size_t i = 0; i < to.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, from + 2 * i, sizeof bits);
    to[i] = BFloat16ToFloat(bits);
  }
}

}  // namespace

QuantizingReader::QuantizingReader(const TensorEntry& entry, const SliceLayout& slice,
                                   bool transposed, size_t readers, const SourceFiles& files)
    : entry_(entry),
      source_(AsInCheckpoint(slice)),
      dtype_(slice.dtype),
      transposed_(transposed),
      readers_(readers),
      files_(files),
      plain_(entry, source_, readers, files) {}

uint64_t QuantizingReader::PlaceOf(uint64_t offset) const {
  const DTypeTraits& traits = Traits(dtype_);
  const auto element = static_cast<int64_t>(offset / static_cast<uint64_t>(traits.block_bytes)) *
                       traits.block_elements;
  if (!transposed_) return plain_.PlaceOf(static_cast<uint64_t>(RowBytes(source_.dtype, element)));
  const int64_t row = element / source_.region.columns.size();
  const int64_t rows = source_.region.rows.size();
  return TileReader({row % rows, row % rows + 1}, row / rows).PlaceOf(0);
}

absl::Status QuantizingReader::Read(uint64_t offset, std::span<std::byte> out) const {
  const Piece piece{offset, out};
  return transposed_ ? ReadTransposed(piece) : ReadBlocks(piece);
}

absl::Status QuantizingReader::ReadBlocks(const Piece& piece) const {
  const DTypeTraits& traits = Traits(dtype_);
  const auto bytes = static_cast<uint64_t>(traits.block_bytes);
  const auto begin = static_cast<int64_t>(piece.offset / bytes);
  const auto end = static_cast<int64_t>((piece.offset + piece.bytes.size() + bytes - 1) / bytes);
  std::vector<std::byte> stored;
  std::vector<float> values;
  for (int64_t block = begin; block < end; block += kBatchBlocks) {
    const int64_t first = block * traits.block_elements;
    const int64_t count = std::min(kBatchBlocks, end - block) * traits.block_elements;
    stored.resize(static_cast<size_t>(RowBytes(source_.dtype, count)));
    values.resize(static_cast<size_t>(count));
    TRI_RETURN_IF_ERROR(plain_.Read(static_cast<uint64_t>(RowBytes(source_.dtype, first)), stored));
    ToFloats(source_.dtype, stored.data(), values);
    TRI_RETURN_IF_ERROR(PutBlocks(values, first, piece));
  }
  return absl::OkStatus();
}

absl::Status QuantizingReader::ReadTransposed(const Piece& piece) const {
  const int64_t inputs = source_.region.columns.size();
  const int64_t rows = source_.region.rows.size();
  const auto row_bytes = static_cast<uint64_t>(RowBytes(dtype_, inputs));
  const auto begin = static_cast<int64_t>(piece.offset / row_bytes);
  const auto end =
      static_cast<int64_t>((piece.offset + piece.bytes.size() + row_bytes - 1) / row_bytes);
  const int64_t most = std::max<int64_t>(
      kRowsAtOnce, static_cast<int64_t>(kTileBytes) / RowBytes(source_.dtype, inputs));
  for (int64_t row = begin; row < end;) {
    const int64_t expert_end = (row / rows + 1) * rows;
    const int64_t tile_end = std::min({row + most, end, expert_end});
    TRI_RETURN_IF_ERROR(ReadTile(row, tile_end, piece));
    row = tile_end;
  }
  return absl::OkStatus();
}

PlainReader QuantizingReader::TileReader(const Range& rows, int64_t expert) const {
  SliceLayout tile = source_;
  const Slice& region = source_.region;
  tile.region.rows = region.columns;
  tile.region.columns = {region.rows.begin + rows.begin, region.rows.begin + rows.end};
  tile.region.experts = {region.experts.begin + expert, region.experts.begin + expert + 1};
  // Tiles lie side by side in the rows of the source: other tiles will read the rest of each.
  const auto tiles = static_cast<size_t>(entry_.view.columns() / rows.size() + 1);
  return PlainReader(entry_, tile, readers_ * tiles, files_);
}

absl::Status QuantizingReader::ReadTile(int64_t first, int64_t end, const Piece& piece) const {
  const int64_t inputs = source_.region.columns.size();
  const int64_t rows = source_.region.rows.size();
  const int64_t count = end - first;
  const Range in_expert{first % rows, first % rows + count};
  std::vector<std::byte> stored(static_cast<size_t>(RowBytes(source_.dtype, inputs * count)));
  TRI_RETURN_IF_ERROR(TileReader(in_expert, first / rows).Read(0, stored));
  std::vector<float> values(static_cast<size_t>(inputs * kRowsAtOnce));
  std::vector<float> outputs(kRowsAtOnce);
  for (int64_t row = 0; row < count; row += kRowsAtOnce) {
    const int64_t at_once = std::min(kRowsAtOnce, count - row);
    for (int64_t input = 0; input < inputs; ++input) {
      const std::span<float> some(outputs.data(), static_cast<size_t>(at_once));
      ToFloats(source_.dtype, stored.data() + RowBytes(source_.dtype, input * count + row), some);
      for (int64_t i = 0; i < at_once; ++i) {
        values[static_cast<size_t>(i * inputs + input)] = some[static_cast<size_t>(i)];
      }
    }
    const std::span<const float> made(values.data(), static_cast<size_t>(at_once * inputs));
    TRI_RETURN_IF_ERROR(PutBlocks(made, (first + row) * inputs, piece));
  }
  return absl::OkStatus();
}

absl::Status QuantizingReader::PutBlocks(std::span<const float> values, int64_t first,
                                         const Piece& piece) const {
  std::vector<std::byte> blocks(
      static_cast<size_t>(RowBytes(dtype_, static_cast<int64_t>(values.size()))));
  if (const std::optional<size_t> bad = QuantizeRow(dtype_, values, blocks)) {
    const int64_t element = first + static_cast<int64_t>(*bad);
    const int64_t inputs = source_.region.columns.size();
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: tensor %s: output %d, input %d of the slice is %g, which %s cannot hold; the "
        "checkpoint is damaged, or must be sharded without --quant",
        entry_.file->path(), entry_.name, element / inputs, element % inputs, values[*bad],
        Name(dtype_)));
  }
  const auto begin = static_cast<uint64_t>(RowBytes(dtype_, first));
  const uint64_t from = std::max(begin, piece.offset);
  const uint64_t to = std::min(begin + blocks.size(), piece.offset + piece.bytes.size());
  if (from < to) {
    std::memcpy(piece.bytes.data() + (from - piece.offset), blocks.data() + (from - begin),
                to - from);
  }
  return absl::OkStatus();
}

}  // namespace trireme
