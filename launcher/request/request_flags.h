// The flags of `trireme generate` and `trireme chat` that are fields of the request: they are
// written into the message itself, so that a flag is one line here and no second list.
#pragma once

#include "trireme/v1/inference.pb.h"

namespace CLI {
class App;
}

namespace trireme {

// How tokens are chosen, where the completion ends, what it must be. `request` is a GenerateRequest
// or a ChatRequest, and must outlive the parsing.
template <typename RequestProto>
void AddRequestFlags(CLI::App& app, RequestProto& request);

extern template void AddRequestFlags(CLI::App& app, v1::GenerateRequest& request);
extern template void AddRequestFlags(CLI::App& app, v1::ChatRequest& request);

}  // namespace trireme
