// The parts of the verbs on experts that are about rows, not about weights: plain scalar code.
#pragma once

#include <span>

#include "runtime/ops/ops.h"

namespace trireme::cpu {

// Ops::Route, on the calling thread: a router's logits are few.
void Route(ConstTensorView logits, const Routing& routing);

inline void ScaleRow(std::span<float> row, float scale) {
  for (float& value : row) value *= scale;
}

}  // namespace trireme::cpu
