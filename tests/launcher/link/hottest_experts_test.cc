#include "launcher/link/hottest_experts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// "layer expert tokens/layer_tokens" of each.
std::vector<std::string> Hottest(std::vector<int64_t> loads, int64_t experts, size_t most) {
  std::vector<std::string> lines;
  for (const v1::HotExpert& expert : HottestExperts(loads, experts, most)) {
    lines.push_back(std::to_string(expert.layer()) + " " + std::to_string(expert.expert()) + " " +
                    std::to_string(expert.tokens()) + "/" + std::to_string(expert.layer_tokens()));
  }
  return lines;
}

TEST(HottestExperts, AreThoseWithTheLargestShareOfTheirLayer) {
  // Layer 1 has fewer tokens, and its expert 2 more than half of them.
  EXPECT_THAT(Hottest({50, 10, 40, 1, 0, 3}, 3, 3),
              ElementsAre("1 2 3/4", "0 0 50/100", "0 2 40/100"));
}

TEST(HottestExperts, LeaveOutLayersWithoutRoutedExpertsAndIdleExperts) {
  EXPECT_THAT(Hottest({0, 0, 0, 5, 0, 0}, 2, 8), ElementsAre("1 1 5/5"));
}

TEST(HottestExperts, ComeByLayerAndExpertWhereTheirSharesAreEqual) {
  EXPECT_THAT(Hottest({2, 2, 1, 1, 4, 4}, 2, 5),
              ElementsAre("0 0 2/4", "0 1 2/4", "1 0 1/2", "1 1 1/2", "2 0 4/8"));
}

TEST(HottestExperts, AreNoneBeforeTheFirstReportAndOfADenseModel) {
  EXPECT_THAT(Hottest({}, 8, 8), IsEmpty());
  EXPECT_THAT(Hottest({}, 0, 8), IsEmpty());
  EXPECT_THAT(Hottest({0, 0, 0, 0}, 4, 8), IsEmpty());
}

}  // namespace
}  // namespace trireme
