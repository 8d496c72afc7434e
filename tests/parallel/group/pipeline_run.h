// A group of stages driven plan by plan, without an engine: sequences that decode in turns, so that
// several plans are in flight, over any communicator. The tests of each transport compare what
// comes out (pipeline_test.cc, tests/mpi/mpi_pipeline_test.cc).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "parallel/group/rank_step.h"

namespace trireme {

struct PipelineRun {
  int stages = 1;
  int max_in_flight = 0;  // 0: as many as there are stages
  // The stage that refuses plans from some step on, as a stage with fewer pages does; -1: none.
  int failing_stage = -1;
  int64_t step_timeout_ms = 30'000;
};

// Every sequence's tokens and log-probabilities in their order, as text that shows every bit.
struct PipelineOutcome {
  std::vector<std::string> sequences;
  // Of the leader: how the run ended, and what the executor said when it was asked again.
  absl::Status status;
  absl::Status again;
  int most_in_flight = 0;
};

// This rank's part of a run; a follower's outcome has only the status. Collective over `world`.
PipelineOutcome RunPipeline(Communicator& world, const PipelineRun& run);

}  // namespace trireme
