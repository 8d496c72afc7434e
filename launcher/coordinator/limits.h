// What a peer's stream may cost; what a request may ask for is in request/limits.h.
#pragma once

#include <cstddef>

namespace trireme {

// What a client may leave unread before it is cut off, so that a slow one costs nobody else memory.
inline constexpr size_t kMaxUnreadBytes = size_t{256} << 10;
// Messages a group's leader may leave unread.
inline constexpr size_t kMaxLinkBytes = size_t{64} << 20;
// Requests of one KServe stream that run at a time; more are read as these end.
inline constexpr size_t kMaxStreamedCalls = 100;

}  // namespace trireme
