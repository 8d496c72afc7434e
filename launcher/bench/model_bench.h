// How fast a model runs in this engine, on these ranks: tokens a second of prompts read and of
// tokens decoded, through the very way of a request (Engine, StepPlan, every rank), so that what is
// measured is what is served. Prompts are drawn at random, so that routers deal them over experts.
//
// A decode figure is of the time in which all sequences of a batch decode together: from the moment
// the last of them has its first token until the first of them ends.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"

namespace trireme {

struct ModelBenchOptions {
  std::vector<int64_t> prompts = {512};       // tokens of prompts that are read alone
  std::vector<int64_t> batches = {1, 8, 16};  // sequences that decode together
  std::vector<int64_t> contexts = {128};      // tokens before those that are decoded
  int64_t tokens = 64;                        // decoded of each sequence
  int repetitions = 5;
};

struct ModelBenchRow {
  std::string_view what;  // "prefill" or "decode"
  int64_t batch = 1;
  int64_t context = 0;                    // of prefill: the prompt's tokens
  std::vector<double> tokens_per_second;  // one a repetition
};

// Positions that the cache must hold for it, and that the longest sequence has.
struct ModelBenchNeed {
  int64_t kv_positions = 0;
  int64_t positions = 0;
};
ModelBenchNeed NeedOf(const ModelBenchOptions& options, int64_t max_step_tokens,
                      int64_t page_tokens);

// Every case once and uncounted, then all of them by turns, so that what disturbs the machine for a
// while disturbs all alike. The engine must not share prefixes (its options), or draw nothing
// twice.
absl::StatusOr<std::vector<ModelBenchRow>> BenchModel(Engine& engine,
                                                      const ModelBenchOptions& options);

}  // namespace trireme
