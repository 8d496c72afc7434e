#include <gmock/gmock.h>

#include <string>
#include <thread>
#include <vector>

#include "parallel/comm/thread_comm.h"
#include "tests/parallel/group/pipeline_run.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

// Of every rank, the leader's first.
std::vector<PipelineOutcome> RunOnThreads(const PipelineRun& run) {
  ThreadGroup group(run.stages);
  std::vector<PipelineOutcome> outcomes(static_cast<size_t>(run.stages));
  {
    std::vector<std::jthread> ranks;
    for (int rank = 0; rank < run.stages; ++rank) {
      ranks.emplace_back([&, rank] {
        const std::unique_ptr<Communicator> world = group.World(rank);
        outcomes[static_cast<size_t>(rank)] = RunPipeline(*world, run);
      });
    }
  }
  return outcomes;
}

TEST(Pipeline, PlansInFlightGiveTheBytesOfOneAtATime) {
  const PipelineOutcome alone = RunOnThreads({.stages = 1})[0];
  ASSERT_OK(alone.status);
  EXPECT_THAT(alone.sequences, Each(HasSubstr("loads")));
  for (const int stages : {2, 4}) {
    for (const int in_flight : {1, 2, 3, 4}) {
      if (in_flight > stages) continue;
      SCOPED_TRACE(testing::Message() << stages << " stages, " << in_flight << " plans in flight");
      const auto outcomes = RunOnThreads({.stages = stages, .max_in_flight = in_flight});
      for (const PipelineOutcome& outcome : outcomes) EXPECT_OK(outcome.status);
      EXPECT_EQ(outcomes[0].most_in_flight, in_flight);
      EXPECT_EQ(outcomes[0].sequences, alone.sequences);
    }
  }
}

// Every rank ends long before its deadline, and the leader hears the stage's own reason, once.
TEST(Pipeline, AFailingStageIsReportedOnceAndAllEnd) {
  for (const int stages : {2, 4}) {
    for (int failing = 1; failing < stages; ++failing) {
      SCOPED_TRACE(testing::Message() << "stage " << failing << " of " << stages);
      const auto began = Deadline::Clock::now();
      const auto outcomes = RunOnThreads({.stages = stages, .failing_stage = failing});
      EXPECT_LT(Deadline::Clock::now() - began, std::chrono::seconds(20));
      // Stages before the failing one have nothing to say but that the leader stopped them.
      for (int rank = 1; rank < stages; ++rank) {
        EXPECT_EQ(outcomes[static_cast<size_t>(rank)].status.ok(), rank < failing) << rank;
      }
      const absl::Status& reported = outcomes[0].status;
      EXPECT_THAT(reported, StatusIs(absl::StatusCode::kInvalidArgument,
                                     AllOf(HasSubstr("rank " + std::to_string(failing) + " on "),
                                           HasSubstr("page out of range"))));
      EXPECT_EQ(outcomes[0].again, reported);
    }
  }
}

TEST(Pipeline, AFailingLeaderEndsItsFollowers) {
  const auto outcomes = RunOnThreads({.stages = 2, .failing_stage = 0});
  EXPECT_THAT(outcomes[0].status,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page out of range")));
  EXPECT_THAT(outcomes[1].status,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 0 on ")));
}

}  // namespace
}  // namespace trireme
