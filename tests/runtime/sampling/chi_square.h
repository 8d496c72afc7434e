// Whether draws follow a distribution, by Pearson's chi-square: six standard deviations above what
// is expected fails. No draw of a token of probability 0 is allowed.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>

namespace trireme {

// counts: how often each token was drawn; least_bins: of tokens that may be drawn, or the test says
// nothing.
inline void ExpectDrawnFrom(std::span<const float> probabilities, std::span<const int> counts,
                            int least_bins) {
  const double draws = std::accumulate(counts.begin(), counts.end(), 0);
  double chi_square = 0;
  int bins = 0;
  for (size_t id = 0; id < counts.size(); ++id) {
    const double expected = draws * static_cast<double>(probabilities[id]);
    if (expected == 0) {
      EXPECT_EQ(counts[id], 0) << "a filtered token was drawn, id " << id;
      continue;
    }
    chi_square += (counts[id] - expected) * (counts[id] - expected) / expected;
    ++bins;
  }
  ASSERT_GE(bins, least_bins);
  EXPECT_LT(chi_square, bins - 1 + 6 * std::sqrt(2.0 * (bins - 1)));
}

}  // namespace trireme
