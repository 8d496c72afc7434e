// Reads a slice of floats as the blocks that it is quantised to, any bytes of them: the blocks that
// they lie in are made anew from the checkpoint, which costs a block or two at the ends of a piece.
// What the checkpoint has [in, out] is read a tile of outputs at a time and transposed in memory.
// Memory is bounded by the piece that is asked for (a few times its bytes), whatever the tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "parallel/shards/copying/slice_reader.h"

namespace trireme {

class QuantizingReader final : public SliceReader {
 public:
  QuantizingReader(const TensorEntry& entry, const SliceLayout& slice, bool transposed,
                   size_t readers, const SourceFiles& files);

  uint64_t PlaceOf(uint64_t offset) const override;
  // Also INVALID_ARGUMENT naming tensor and place of a value that the type cannot hold.
  absl::Status Read(uint64_t offset, std::span<std::byte> out) const override;

 private:
  // Bytes that were asked for, of which rows and blocks are put what falls into them.
  struct Piece {
    uint64_t offset = 0;  // in the slice
    std::span<std::byte> bytes;
  };

  absl::Status ReadBlocks(const Piece& piece) const;
  absl::Status ReadTransposed(const Piece& piece) const;
  // One tile: rows [first, end) of the slice, all of one expert.
  absl::Status ReadTile(int64_t first, int64_t end, const Piece& piece) const;
  // Quantises whole blocks that begin with element `first` of the slice.
  absl::Status PutBlocks(std::span<const float> values, int64_t first, const Piece& piece) const;

  PlainReader TileReader(const Range& rows, int64_t expert) const;

  const TensorEntry& entry_;
  SliceLayout source_;  // the same slice as the checkpoint has it
  const DType dtype_;
  const bool transposed_;
  const size_t readers_;
  const SourceFiles& files_;
  const PlainReader plain_;  // of what is not transposed
};

}  // namespace trireme
