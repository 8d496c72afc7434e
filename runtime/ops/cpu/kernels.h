// The table of kernels of one instruction set. A kernel does a range of a verb's work on the
// calling thread; cpu_ops.cc cuts verbs into ranges and knows of threads, the kernels know of
// vectors.
//
// Each family file (matmul.cc, attention.cc, …) is compiled once a target by Highway into a
// namespace of the target's name (N_AVX2, …); the functions declared below meet in one table a
// target (kernels.cc).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/ops/cpu/matmul/bf16.h"
#include "runtime/ops/cpu/matmul/int8.h"
#include "runtime/ops/ops.h"
#include "runtime/tensor/tensor.h"

namespace trireme::cpu {

// Working memory of one thread; grows at first use and is kept.
class Scratch {
 public:
  // 64-byte aligned, contents unspecified; valid until the next call.
  std::byte* Bytes(int64_t count) { return reinterpret_cast<std::byte*>(Floats((count + 3) / 4)); }
  float* Floats(int64_t count) {
    if (count > size_) {
      size_ = count;
      memory_ = Tensor(DType::kF32, Shape{count});
    }
    return memory_.view().row_as<float>(0);
  }

 private:
  Tensor memory_;
  int64_t size_ = 0;
};

struct LinearArgs {
  ConstTensorView x;
  ConstTensorView w;
  int64_t w_offset = 0;
  const LeafSchedule* schedule = nullptr;  // at least one leaf
  TensorView out;
  ConstTensorView scales{};  // [1, outputs] factors of each leaf, or empty
  bool input_major = false;  // w is [k, outputs], of a type without blocks
};

struct NormArgs {
  ConstTensorView x;
  ConstTensorView weight;
  float eps = 0;
  TensorView out;
};

struct RopeArgs {
  TensorView x;
  int64_t head_dim = 0;
  std::span<const int32_t> positions;
  ConstTensorView cos;
  ConstTensorView sin;
  RopeStyle style = RopeStyle::kHalves;
};

struct StoreKvArgs {
  ConstTensorView k;
  ConstTensorView v;
  const RowIndex* rows = nullptr;
  KvPages pages;
};

struct AttentionArgs {
  ConstTensorView q;
  const RowIndex* rows = nullptr;
  const KvPages* pages = nullptr;
  const AttentionShape* shape = nullptr;
  TensorView out;
};

// Consecutive rows of one sequence, and query heads that read one KV head.
struct AttentionTile {
  Range tokens;
  Range heads;
  int64_t kv_head = 0;
};

struct EmbedArgs {
  std::span<const int32_t> ids;
  ConstTensorView table;
  int64_t first_row = 0;
  TensorView out;
};

// Tokens up to which reading an input-major matrix as it lies beats transposing panels of it.
inline constexpr int64_t kMaxInputMajorTokens = 16;

struct KernelTable {
  void (*linear)(const LinearArgs& args, Range outputs, Scratch& scratch);
  // For at most kMaxInputMajorTokens.
  void (*linear_input_major)(const LinearArgs& args, Range outputs, Scratch& scratch);
  void (*attention)(const AttentionArgs& args, const AttentionTile& tile, Scratch& scratch);
  void (*store_kv)(const StoreKvArgs& args, Range tokens);
  void (*rms_norm)(const NormArgs& args, Range tokens);
  void (*rope)(const RopeArgs& args, Range tokens);
  void (*silu_mul)(TensorView gate, ConstTensorView up, Range tokens);
  void (*add)(TensorView x, ConstTensorView y, Range tokens);
  void (*embed)(const EmbedArgs& args, Range tokens);
};

#define TRI_DECLARE_KERNELS(target)                                                       \
  namespace target {                                                                      \
  void Linear(const LinearArgs& args, Range outputs, Scratch& scratch);                   \
  void LinearInputMajor(const LinearArgs& args, Range outputs, Scratch& scratch);         \
  void Attention(const AttentionArgs& args, const AttentionTile& tile, Scratch& scratch); \
  void StoreKv(const StoreKvArgs& args, Range tokens);                                    \
  void RmsNorm(const NormArgs& args, Range tokens);                                       \
  void Rope(const RopeArgs& args, Range tokens);                                          \
  void SiluMul(TensorView gate, ConstTensorView up, Range tokens);                        \
  void Add(TensorView x, ConstTensorView y, Range tokens);                                \
  void Embed(const EmbedArgs& args, Range tokens);                                        \
  }
TRI_DECLARE_KERNELS(N_AVX2)
TRI_DECLARE_KERNELS(N_AVX3)
TRI_DECLARE_KERNELS(N_NEON)
#undef TRI_DECLARE_KERNELS

// Ops::Route, on the calling thread: a router's logits are few.
void Route(ConstTensorView logits, const Routing& routing);

inline void ScaleRow(std::span<float> row, float scale) {
  for (float& value : row) value *= scale;
}

struct Target {
  std::string name;
  KernelTable kernels;
  Int8Kernels int8;
  Bf16Kernels bf16{};
};

// Targets that this machine can run, best first.
std::vector<Target> SupportedTargets();

}  // namespace trireme::cpu
