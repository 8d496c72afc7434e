// Runs requests on a mesh of threads: the whole way from engine to sampler, one stage a thread,
// exchanging activations through the thread communicator.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"
#include "runtime/ops/ops.h"
#include "runtime/tensor/dtype.h"

namespace trireme {

enum class Arrivals {
  kTogether,
  kAtRandom,  // up to two milliseconds apart, so that steps are shared differently each time
};

struct MeshRun {
  std::string model;  // a checkpoint's path
  int stages = 1;
  int shards = 1;            // of a stage: ep * tp
  int expert_groups = 1;     // ep
  int64_t positions = 1024;  // longest prompt + completion
  DType kv_dtype = DType::kF32;
  int64_t page_tokens = 32;
  int64_t pages = 0;  // of either kind of layer; 0: room for four of the longest
  int64_t max_step_tokens = 256;
  bool prefix_cache = true;
  int64_t speculative_tokens = 0;
  Arrivals arrivals = Arrivals::kTogether;
  bool reference_ops = false;
  std::string cpu_target;
  Arithmetic arithmetic = Arithmetic::kFp32;
};

struct MeshOutcome {
  std::vector<std::vector<TokenEvent>> events;  // of each request, in the order of `requests`
  EngineStatus status;                          // when the last had ended
};

absl::StatusOr<MeshOutcome> RunMesh(const MeshRun& run, std::vector<Request> requests);
// Its events alone.
absl::StatusOr<std::vector<std::vector<TokenEvent>>> RunOnMesh(const MeshRun& run,
                                                               std::vector<Request> requests);

}  // namespace trireme
