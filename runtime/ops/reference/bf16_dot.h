// The BF16 dot product of Arithmetic::kNative (ops.h), step by step as the instruction does it.
#pragma once

#include <span>

namespace trireme {

// The value as BF16: nearest even, subnormals to zero.
float RoundToBf16(float value);

// Dot of x, rounded, with weights that are BF16 already.
float Bf16Dot(std::span<const float> x, std::span<const float> w);

}  // namespace trireme
