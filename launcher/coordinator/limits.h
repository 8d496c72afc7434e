// What one request may ask for. Every number is checked at the door before anything is allocated
// for it, so that no request can cost more than these say.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme {

inline constexpr int kMaxMessageBytes = 4 << 20;  // of one message from a client
inline constexpr size_t kMaxStopTokens = 16;
inline constexpr int32_t kMaxLogprobs = 20;
inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr size_t kMaxChatMessages = 4096;
inline constexpr size_t kMaxTools = 128;
inline constexpr float kMaxTemperature = 100;
// What a client may leave unread before it is cut off, so that a slow one costs nobody else memory.
inline constexpr size_t kMaxUnreadBytes = size_t{256} << 10;
// Messages a group's leader may leave unread.
inline constexpr size_t kMaxLinkBytes = size_t{64} << 20;
inline constexpr int kMaxStreamsPerConnection = 100;

}  // namespace trireme
