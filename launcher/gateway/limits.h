// What one HTTP peer may cost.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace trireme {

inline constexpr uint32_t kMaxHeaderBytes = 16 << 10;  // of all header fields and the first line
inline constexpr size_t kMaxHeaderFields = 100;
inline constexpr size_t kMaxBodyBytes = size_t{4} << 20;
inline constexpr size_t kMaxFileBytes = size_t{32} << 20;  // of an uploaded file
inline constexpr size_t kMaxChunks = 8'192;  // of one body, each of them costs a header
inline constexpr size_t kMaxChunkExtensionBytes = 4 << 10;
// Requests that a client sends ahead, before it has read the reply to the one that runs.
inline constexpr size_t kMaxAheadBytes = 64 << 10;
inline constexpr std::chrono::seconds kHeaderTimeout{10};
inline constexpr std::chrono::seconds kBodyTimeout{60};
inline constexpr std::chrono::seconds kKeepAliveTimeout{75};
inline constexpr std::chrono::seconds kHandshakeTimeout{10};
// Without the peer taking a byte.
inline constexpr std::chrono::seconds kWriteTimeout{30};
// After the last reply, for the peer to read it: closing with unread input would discard it.
inline constexpr std::chrono::seconds kLingerTimeout{2};
inline constexpr size_t kMaxLingerBytes = size_t{64} << 20;

}  // namespace trireme
