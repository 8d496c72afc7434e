// Cosines and sines of rotary position embedding (RoFormer, Su et al. 2021), computed once per
// model on the host in the precision the reference uses: inverse frequencies and angles in fp32.
// Llama 3's scaling follows llama-models' apply_scaling, with the blend skipped where low and high
// factor coincide (Scout).
#pragma once

#include <span>
#include <vector>

#include "runtime/model/config.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

// [head_dim / 2]. `divisors` (GGUF's rope_freqs.weight) divide the frequencies; empty for none.
std::vector<float> RopeFrequencies(const RopeConfig& rope, int64_t head_dim,
                                   std::span<const float> divisors);

struct RopeTable {
  Tensor cos;  // [positions, head_dim / 2]
  Tensor sin;
};
RopeTable MakeRopeTable(std::span<const float> frequencies, int64_t positions);

}  // namespace trireme
