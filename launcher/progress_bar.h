// A bar for operations that take longer than a moment: on a terminal it is redrawn in place a few
// times a second; anywhere else it prints nothing.
//
//   sharding  [=========>          ]  47 %  1.2 of 2.6 GB  840 MB/s  2 s left
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

// "512 B", "1.2 GB": powers of ten, three digits.
std::string HumanBytes(double bytes);

class ProgressBar {
 public:
  // Writes on stderr.
  explicit ProgressBar(std::string_view what);
  // Clears the line, so that what follows begins on a clean one.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Update(uint64_t done, uint64_t total);

  // The line for a state, without control characters.
  static std::string Line(std::string_view what, uint64_t done, uint64_t total, double seconds);

 private:
  using Clock = std::chrono::steady_clock;
  const std::string what_;
  const bool shown_;
  const Clock::time_point start_;
  Clock::time_point last_drawn_;
  bool drawn_ = false;
};

}  // namespace trireme
