// Llama 2 and 3 and their kin (SmolLM2): pre-norm transformer with grouped-query attention, rotary
// embedding and a SwiGLU MLP ("The Llama 3 Herd of Models", 2024; reference: llama-models
// llama3/model.py).
#pragma once

#include "runtime/model/architecture.h"

namespace trireme {

Architecture LlamaArchitecture();

}  // namespace trireme
