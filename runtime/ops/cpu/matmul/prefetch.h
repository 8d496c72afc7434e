// Rows of weights are read as one stream, ahead of their multiplication: the processor's own
// prefetch restarts at each row, and rows are as short as 360 bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/tensor/shape.h"

namespace trireme::cpu {

// How far ahead of the multiplication weights are asked for, at least. Rows that are multiplied
// together begin together, so that it is never less than all of them.
inline constexpr int64_t kPrefetchBytes = 8192;

// Rows in memory, of which only some columns may be multiplied: those of a rank's leaves.
struct RowLayout {
  int64_t stride_bytes;
  int64_t first_byte;
  int64_t used_bytes;
  int64_t ahead_bytes;  // to the row that is asked for while one is multiplied

  // Rows of which bytes [used) are multiplied, so many at once.
  static RowLayout Of(int64_t stride_bytes, Range used, int64_t at_once) {
    const int64_t bytes = std::max<int64_t>(1, used.size());
    const int64_t ahead = std::max(at_once, kPrefetchBytes / bytes + 1);
    return {stride_bytes, used.begin, bytes, ahead * stride_bytes};
  }
};

// Asks for weights that come later than those that are multiplied by the layout's distance, kBytes
// at a time, to be brought to the second-level cache (the first has few ways, and rows a power of
// two apart compete for them). The used columns of consecutive rows are one stream.
template <int64_t kBytes>
class Prefetcher {
 public:
  Prefetcher(const uint8_t* row, const RowLayout& layout)
      : at_(row + layout.first_byte + layout.ahead_bytes),
        end_(at_ + layout.used_bytes),
        stride_(layout.stride_bytes),
        gap_(stride_ - layout.used_bytes) {}

  void Next() {
    for (int64_t line = 0; line < kBytes; line += 64) __builtin_prefetch(at_ + line, 0, 2);
    at_ += kBytes;
    if (at_ >= end_) {
      at_ += gap_;
      end_ += stride_;
    }
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
  const int64_t stride_;
  const int64_t gap_;
};

}  // namespace trireme::cpu
