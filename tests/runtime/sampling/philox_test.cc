#include "runtime/sampling/philox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <set>

namespace trireme {
namespace {

using testing::ElementsAre;

// The known answers that the authors publish with their Random123 library (philox4x32, 10 rounds).
TEST(PhiloxTest, GivesThePublishedKnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(
      Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
      ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(
      Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(UniformDrawTest, DependsOnEveryBitOfItsArguments) {
  std::set<double> draws = {UniformDraw(0, 0, 0)};
  for (int bit = 0; bit < 64; ++bit) draws.insert(UniformDraw(uint64_t{1} << bit, 0, 0));
  for (int bit = 0; bit < 32; ++bit) draws.insert(UniformDraw(0, uint32_t{1} << bit, 0));
  for (int bit = 0; bit < 32; ++bit) draws.insert(UniformDraw(0, 0, uint32_t{1} << bit));
  EXPECT_EQ(draws.size(), 1 + 64 + 32 + 32);
}

// A chi-square of 100 bins; 99 degrees of freedom exceed 185 once in 3 million.
TEST(UniformDrawTest, IsUniformOverDrawsAndOverSequences) {
  constexpr int kDraws = 100'000;
  for (const bool by_sequence : {false, true}) {
    std::array<int, 100> bins{};
    for (uint32_t i = 0; i < kDraws; ++i) {
      const double u = by_sequence ? UniformDraw(7, i, 3) : UniformDraw(7, 3, i);
      ASSERT_GE(u, 0);
      ASSERT_LT(u, 1);
      ++bins[static_cast<size_t>(u * 100)];
    }
    double chi_square = 0;
    for (const int count : bins) chi_square += (count - 1000.0) * (count - 1000.0) / 1000.0;
    EXPECT_LT(chi_square, 185) << (by_sequence ? "over sequences" : "over draws");
  }
}

}  // namespace
}  // namespace trireme
