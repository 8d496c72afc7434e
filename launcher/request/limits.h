// What one request may ask for. Every number is checked at the door before anything is allocated
// for it, so that no request can cost more than these say.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme {

inline constexpr size_t kMaxStopTokens = 16;
inline constexpr int32_t kMaxLogprobs = 20;
inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr size_t kMaxChatMessages = 4096;
inline constexpr size_t kMaxTools = 128;
inline constexpr float kMaxTemperature = 100;

}  // namespace trireme
