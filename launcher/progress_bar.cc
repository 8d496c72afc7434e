#include "launcher/progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

constexpr int kWidth = 20;
constexpr std::chrono::milliseconds kRedraw{100};

}  // namespace

std::string HumanBytes(double bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || bytes >= 99.95 ? 0 : 1;
  return absl::StrFormat("%.*f %s", decimals, bytes, kUnits[unit]);
}

ProgressBar::ProgressBar(std::string_view what)
    : what_(what), shown_(isatty(STDERR_FILENO) == 1), start_(Clock::now()), last_drawn_(start_) {}

ProgressBar::~ProgressBar() {
  if (drawn_) absl::FPrintF(stderr, "\r\x1b[K");
}

void ProgressBar::Update(uint64_t done, uint64_t total) {
  const Clock::time_point now = Clock::now();
  if (!shown_ || now - last_drawn_ < kRedraw) return;
  last_drawn_ = now;
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  absl::FPrintF(stderr, "\r%s\x1b[K", Line(what_, done, total, seconds));
  std::fflush(stderr);
}

std::string ProgressBar::Line(std::string_view what, uint64_t done, uint64_t total,
                              double seconds) {
  const double share =
      total == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const int filled = static_cast<int>(share * kWidth);
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < kWidth) bar += '>';
  bar.resize(kWidth, ' ');
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  std::string line = absl::StrFormat("%s  [%s] %3.0f %%  %s of %s  %s/s", what, bar,
                                     std::floor(share * 100), HumanBytes(static_cast<double>(done)),
                                     HumanBytes(static_cast<double>(total)), HumanBytes(rate));
  if (rate > 0 && done < total) {
    absl::StrAppendFormat(&line, "  %.0f s left",
                          std::ceil(static_cast<double>(total - done) / rate));
  }
  return line;
}

}  // namespace trireme
