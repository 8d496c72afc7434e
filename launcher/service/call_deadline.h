// What a client gives a call from now on.
#pragma once

#include <grpcpp/server_context.h>

#include <chrono>
#include <optional>

namespace trireme {

// Nothing: as long as it takes.
inline std::optional<std::chrono::milliseconds> TimeLeft(
    const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  return std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::system_clock::now());
}

}  // namespace trireme
