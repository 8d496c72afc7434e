// Products of BF16 weights by the processor's BF16 dot products (ops.h, Arithmetic::kNative). One
// instruction multiplies a pair of consecutive elements of each of 16 lanes with another pair and
// adds both products to an fp32 sum.
//
// The lanes are tokens. Activations are rounded once a verb and laid out so that a vector holds one
// pair of 16 tokens; the weights stay where they are, row-major, and a pair of a row is broadcast
// from memory by the instruction that multiplies it. So nothing is packed, no lane is folded, and a
// leaf of any length runs at the speed of the dot product. A few tokens would leave most lanes
// idle: for them the lanes are 16 rows of weights, transposed in registers on their way.
//
// Each (row, token) has a sum of its own, to which the pairs of a leaf are added in ascending
// order: neither way, nor the tile, nor the batch can change a result.
#pragma once

#include <cstdint>

#include "runtime/tensor/sum_tree.h"
#include "runtime/tensor/tensor.h"

namespace trireme::cpu {

class Scratch;

// Leaves are padded with zeros to whole units: a cache line of a row.
inline constexpr int64_t kBf16Unit = 32;
// Rows of weights that a task is made of.
inline constexpr int64_t kBf16Outputs = 16;

// Tokens that are multiplied together.
struct Bf16Tile {
  Range tokens;
  int64_t width = 0;  // lanes: the tokens, padded with zeros to 4, 8, or 1, 2 or 3 times 16
  int64_t begin = 0;  // lanes of the tiles before
};

// How a batch is cut into tiles.
class Bf16Tiling {
 public:
  explicit Bf16Tiling(int64_t tokens);
  int64_t count() const { return wide_ + (narrow_width_ > 0 ? 1 : 0); }
  int64_t lanes() const { return vectors_ * 16 + narrow_width_; }
  Bf16Tile At(int64_t index) const;

 private:
  int64_t tokens_;
  int64_t vectors_;       // of 16 lanes
  int64_t wide_;          // tiles of them
  int64_t narrow_width_;  // of the last tile, if it is narrower; else 0
};

// Activations as the kernels want them: tile after tile, in each the leaves, in each the pairs of
// columns, in each a word {column 2p, column 2p + 1} a lane.
struct Bf16Rows {
  uint32_t* words = nullptr;
  int64_t tokens = 0;
  int64_t pairs = 0;  // of a token: those of all leaves, padded

  static int64_t PairsOf(const LeafSchedule& schedule);
  int64_t Words() const { return Bf16Tiling(tokens).lanes() * pairs; }
  uint32_t* Tile(const Bf16Tile& tile) const { return words + tile.begin * pairs; }
};

struct Bf16LinearArgs {
  Bf16Rows x;
  ConstTensorView w;  // [outputs, k], or [k, outputs] if input-major; rows may be strided
  int64_t w_offset = 0;
  const LeafSchedule* schedule = nullptr;  // at least one leaf
  TensorView out;
};

struct Bf16Kernels {
  // Rounds and lays out tiles [tiles) of x.
  void (*round)(const ConstTensorView& x, const LeafSchedule& schedule, const Bf16Rows& to,
                Range tiles) = nullptr;
  // Outputs [outputs), which begin at a multiple of kBf16Outputs.
  void (*linear)(const Bf16LinearArgs& args, Range outputs, Scratch& scratch) = nullptr;
  // The same for w of [k, outputs].
  void (*linear_input_major)(const Bf16LinearArgs& args, Range outputs, Scratch& scratch) = nullptr;
};

void LinearBf16InputMajor(const Bf16LinearArgs& args, Range outputs, Scratch& scratch);

// No kernels where this processor has no such instruction.
Bf16Kernels SupportedBf16Kernels();

}  // namespace trireme::cpu
