#include "launcher/link/heartbeat.h"

#include "launcher/link/hottest_experts.h"

namespace trireme {
namespace {

// As many as people read.
constexpr size_t kHottestExperts = 8;

}  // namespace

v1::Heartbeat ToHeartbeat(const EngineStatus& status) {
  v1::Heartbeat heartbeat;
  heartbeat.set_steps(status.steps);
  heartbeat.set_running(status.running);
  heartbeat.set_waiting(status.waiting);
  v1::EngineCounters& counters = *heartbeat.mutable_counters();
  counters.set_pages(status.pages);
  counters.set_free_pages(status.free_pages);
  counters.set_cached_pages(status.cached_pages);
  counters.set_prefix_queried_tokens(status.counters.prefix_queried_tokens);
  counters.set_prefix_hit_tokens(status.counters.prefix_hit_tokens);
  counters.set_preemptions(status.counters.preemptions);
  counters.set_drafted_tokens(status.counters.drafted_tokens);
  counters.set_accepted_tokens(status.counters.accepted_tokens);
  counters.set_prompt_tokens(status.counters.prompt_tokens);
  counters.set_generated_tokens(status.counters.generated_tokens);
  counters.set_step_us(status.step_times.step_us);
  counters.set_stage_compute_us(status.step_times.compute_us);
  counters.set_stage_wait_us(status.step_times.wait_us);
  const auto hottest = HottestExperts(status.expert_loads, status.experts, kHottestExperts);
  heartbeat.mutable_hottest_experts()->Add(hottest.begin(), hottest.end());
  return heartbeat;
}

}  // namespace trireme
