#include "parallel/comm/solo_comm.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/parallel/comm/communicator_conformance.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

std::vector<ConformanceCase> Cases() {
  std::vector<ConformanceCase> cases;
  for (const ConformanceCase& test : ConformanceCases()) {
    if (Fits(test, 1)) cases.push_back(test);
  }
  return cases;
}

class SoloConformance : public testing::TestWithParam<ConformanceCase> {};

TEST_P(SoloConformance, Holds) { GetParam().body(*MakeSoloCommunicator()); }

INSTANTIATE_TEST_SUITE_P(Communicators, SoloConformance, testing::ValuesIn(Cases()),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(SoloCommunicatorDeathTest, HasNobodyToSendTo) {
  EXPECT_DEATH(MakeSoloCommunicator()->Send(1, {}, Deadline::AfterMs(10), "x").IgnoreError(),
               "no rank 1");
}

}  // namespace
}  // namespace trireme
