#include <gtest/gtest.h>

#include "tests/mpi/mpi_test_main.h"
#include "tests/parallel/comm/communicator_conformance.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

class MpiConformance : public testing::TestWithParam<ConformanceCase> {};

TEST_P(MpiConformance, Holds) {
  if (!Fits(GetParam(), TestSession().size())) GTEST_SKIP() << "needs other numbers of ranks";
  const std::unique_ptr<Communicator> communicator = FreshCommunicator();
  GetParam().body(*communicator);
  // A case may end on one rank long before it does on another.
  EXPECT_OK(FreshCommunicator()->Barrier(Deadline::AfterMs(30'000), "end of the case"));
}

INSTANTIATE_TEST_SUITE_P(Communicators, MpiConformance,
                         testing::ValuesIn(ConformanceCases().begin(), ConformanceCases().end()),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(MpiSession, KnowsWhereEachRankRuns) {
  for (int rank = 0; rank < TestSession().size(); ++rank) {
    EXPECT_FALSE(TestSession().HostOf(rank).empty());
  }
}

}  // namespace
}  // namespace trireme
