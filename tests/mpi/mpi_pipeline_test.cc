// Plans in flight over real MPI: a stage a process.
#include <gmock/gmock.h>

#include <string>

#include "tests/mpi/mpi_test_main.h"
#include "tests/parallel/group/pipeline_run.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;

PipelineOutcome RunOnRanks(PipelineRun run) {
  const std::unique_ptr<Communicator> world = FreshCommunicator();
  run.stages = world->size();
  return RunPipeline(*world, run);
}

TEST(MpiPipeline, PlansInFlightGiveTheBytesOfOneAtATime) {
  const PipelineOutcome one = RunOnRanks({.max_in_flight = 1});
  ASSERT_OK(one.status);
  for (int in_flight = 2; in_flight <= TestSession().size(); ++in_flight) {
    SCOPED_TRACE(in_flight);
    const PipelineOutcome outcome = RunOnRanks({.max_in_flight = in_flight});
    EXPECT_OK(outcome.status);
    EXPECT_EQ(outcome.sequences, one.sequences);
    if (TestSession().rank() == 0) {
      EXPECT_EQ(outcome.most_in_flight, in_flight);
    }
  }
}

TEST(MpiPipeline, AFailingStageIsReportedOnceAndAllEnd) {
  const int failing = TestSession().size() - 1;
  const PipelineOutcome outcome = RunOnRanks({.failing_stage = failing});
  const int rank = TestSession().rank();
  EXPECT_EQ(outcome.status.ok(), rank > 0 && rank < failing);
  if (rank == 0) {
    EXPECT_THAT(outcome.status,
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("rank " + std::to_string(failing) + " on "),
                               HasSubstr("page out of range"))));
    EXPECT_EQ(outcome.again, outcome.status);
  }
  EXPECT_OK(FreshCommunicator()->Barrier(Deadline::AfterMs(30'000), "all have ended"));
}

}  // namespace
}  // namespace trireme
