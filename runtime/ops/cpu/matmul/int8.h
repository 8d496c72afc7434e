// Products of block-typed weights in integers (ops.h, Arithmetic::kNative). Activations are brought
// to 8 bits once a verb; weights stay as they are stored and give their integers, scales and minima
// a group of 32 at a time.
//
// 16 outputs are the lanes: a vector holds four consecutive bytes of each, and one instruction
// multiplies them by the same four bytes of a token and adds the products to 16 sums. Rows of
// weights are brought to that order by a transposition: in registers where few tokens share it,
// to a panel in the thread's scratch where many do. Each output has an accumulator of its own, so
// neither way, nor the width of a vector, nor the tile, can change a result.
#pragma once

#include <cstdint>

#include "runtime/tensor/sum_tree.h"
#include "runtime/tensor/tensor.h"

namespace trireme::cpu {

class Scratch;

// Rows of activations in groups of 32 (int8_group.h).
struct Int8Rows {
  int64_t rows = 0;
  int64_t groups = 0;        // of a row
  int8_t* values = nullptr;  // [rows, groups, 32]
  float* scales = nullptr;   // [rows, groups] d
  float* sums = nullptr;     // [rows, groups] d * (q[0] + … + q[31])
  int32_t* counters =
      nullptr;  // [rows, groups] -(q[0] + … + q[31]): what undoes an offset of weights

  static constexpr int64_t kGroupBytes = 48;
  // Over `memory` of rows * groups * kGroupBytes bytes, 64-byte aligned.
  static Int8Rows In(std::byte* memory, int64_t rows, int64_t groups);
};

struct Int8LinearArgs {
  Int8Rows x;
  ConstTensorView w;
  int64_t w_offset = 0;                    // a multiple of 32
  const LeafSchedule* schedule = nullptr;  // at least one leaf, all of whole groups
  TensorView out;
};

// Outputs that are multiplied together.
inline constexpr int64_t kInt8Outputs = 16;

struct Int8Kernels {
  // Rows [rows) of x, whose columns may be more than the groups hold.
  void (*quantize)(const ConstTensorView& x, const Int8Rows& to, Range rows);
  // Outputs [outputs), which begin at a multiple of kInt8Outputs.
  void (*linear)(const Int8LinearArgs& args, Range outputs, Scratch& scratch);
};

#define TRI_DECLARE_INT8_KERNELS(target)                                        \
  namespace target {                                                            \
  void QuantizeRows(const ConstTensorView& x, const Int8Rows& to, Range rows);  \
  void LinearInt8(const Int8LinearArgs& args, Range outputs, Scratch& scratch); \
  }
TRI_DECLARE_INT8_KERNELS(N_AVX2)
TRI_DECLARE_INT8_KERNELS(N_AVX3)
TRI_DECLARE_INT8_KERNELS(N_AVX3_DL)
TRI_DECLARE_INT8_KERNELS(N_NEON)
#undef TRI_DECLARE_INT8_KERNELS

}  // namespace trireme::cpu
