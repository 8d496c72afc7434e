#include "runtime/sampling/portable_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

namespace trireme {
namespace {

TEST(PortableExpTest, AgreesWithTheLibraryToTwoUnitsInTheLastPlace) {
  std::mt19937_64 random(1);
  double worst = 0;
  for (const double lowest : {-1e-9, -1.0, -40.0, -708.0}) {
    std::uniform_real_distribution<double> uniform(lowest, 0);
    for (int i = 0; i < 50'000; ++i) {
      const double x = uniform(random);
      const long double exact = std::exp(static_cast<long double>(x));
      const double unit = std::ldexp(1.0, std::ilogb(static_cast<double>(exact)) - 52);
      worst = std::max(worst, std::abs(static_cast<double>((PortableExp(x) - exact) / unit)));
    }
  }
  EXPECT_LT(worst, 2);
}

TEST(PortableExpTest, IsExactAtZeroAndFlushesTheTail) {
  EXPECT_EQ(PortableExp(0.0), 1.0);
  EXPECT_EQ(PortableExp(-0.0), 1.0);
  EXPECT_GT(PortableExp(-708.0), 0.0);
  EXPECT_EQ(PortableExp(-708.5), 0.0);
  EXPECT_EQ(PortableExp(-1e300), 0.0);
}

TEST(PortableLogTest, AgreesWithTheLibraryToTwoUnitsInTheLastPlace) {
  std::mt19937_64 random(2);
  double worst = 0;
  for (const double highest : {1.5, 10.0, 1e6, 1e300}) {
    std::uniform_real_distribution<double> uniform(1e-3, highest);
    for (int i = 0; i < 50'000; ++i) {
      const double x = uniform(random);
      const long double exact = std::log(static_cast<long double>(x));
      const double unit = std::ldexp(1.0, std::ilogb(static_cast<double>(exact)) - 52);
      worst = std::max(worst, std::abs(static_cast<double>((PortableLog(x) - exact) / unit)));
    }
  }
  EXPECT_LT(worst, 2);
  EXPECT_EQ(PortableLog(1.0), 0.0);
}

// One number for the bits of 20,000 results: any compiler, flag or machine that rounds otherwise (a
// fused multiply-add, say) changes it.
TEST(PortableMathTest, GivesTheSameBitsEverywhere) {
  uint64_t hash = 0xcbf29ce484222325;
  const auto mix = [&](double value) {
    hash = (hash ^ std::bit_cast<uint64_t>(value)) * 0x100000001b3;
  };
  for (int i = 1; i <= 10'000; ++i) {
    mix(PortableExp(-i * 0.0703125));
    mix(PortableLog(i * 1.3125));
  }
  EXPECT_EQ(hash, 8951438932238994868u);
}

}  // namespace
}  // namespace trireme
