// Every metric that /metrics shows, and what it means; nothing else describes them. A name is shown
// behind the prefix and a colon (trireme:num_requests_running). Where a name is the one that vLLM's
// dashboards made customary it means the same and has the same buckets, so that with the prefix
// `vllm` they work unchanged. All have the label model_name; those of a group also engine, the
// group's name.
#pragma once

#include <prometheus/metric_type.h>

namespace trireme {

struct MetricSpec {
  const char* name;
  prometheus::MetricType type;
  const char* help;
};

namespace metric {

using enum prometheus::MetricType;

// ---- customary names: of each group, as its engine says four times a second
inline constexpr MetricSpec kRunning{"num_requests_running", Gauge,
                                     "Requests in the engine's steps."};
inline constexpr MetricSpec kWaiting{"num_requests_waiting", Gauge,
                                     "Requests that wait for their turn in the engine."};
inline constexpr MetricSpec kKvUsage{"kv_cache_usage_perc", Gauge,
                                     "Pages of the KV cache held by requests; 1 is all of them."};
inline constexpr MetricSpec kPrefixQueries{
    "prefix_cache_queries_total", Counter,
    "Tokens of texts to read, looked up in the prefix cache."};
inline constexpr MetricSpec kPrefixHits{"prefix_cache_hits_total", Counter,
                                        "Of those, tokens that were found there."};
inline constexpr MetricSpec kPreemptions{
    "num_preemptions_total", Counter, "Requests that gave up their pages and were computed again."};
// ---- customary names: of requests, as the coordinator sees them; a completion of n counts as one
inline constexpr MetricSpec kFirstToken{"time_to_first_token_seconds", Histogram,
                                        "From acceptance to the first token."};
inline constexpr MetricSpec kInterToken{"inter_token_latency_seconds", Histogram,
                                        "From one token of a completion to the next."};
inline constexpr MetricSpec kQueueTime{"request_queue_time_seconds", Histogram,
                                       "From arrival in the engine to the first step."};
inline constexpr MetricSpec kPrefillTime{"request_prefill_time_seconds", Histogram,
                                         "From the first step to the first token."};
inline constexpr MetricSpec kEndToEnd{"e2e_request_latency_seconds", Histogram,
                                      "From acceptance to the end."};
inline constexpr MetricSpec kPromptSize{"request_prompt_tokens", Histogram,
                                        "Tokens of a prompt, once for all its completions."};
inline constexpr MetricSpec kGenerationSize{"request_generation_tokens", Histogram,
                                            "Tokens of a completion."};
inline constexpr MetricSpec kPromptTokens{"prompt_tokens_total", Counter,
                                          "Tokens of prompts that were read."};
inline constexpr MetricSpec kGenerationTokens{"generation_tokens_total", Counter,
                                              "Tokens that were made and delivered."};
inline constexpr MetricSpec kSuccess{
    "request_success_total", Counter,
    "Completions that ended, by finished_reason: stop, length, abort (by its client), error."};
// ---- Trireme's own
inline constexpr MetricSpec kRefused{"requests_refused_total", Counter,
                                     "Requests refused, by reason: those of load/refusal.h, "
                                     "invalid, duplicate, or the status code."};
inline constexpr MetricSpec kHeld{
    "requests_held", Gauge, "Completions accepted and not ended, by the coordinator's count."};
inline constexpr MetricSpec kReplayed{"requests_replayed_total", Counter,
                                      "Completions that went on in another group after a loss."};
inline constexpr MetricSpec kGroupsLost{
    "groups_lost_total", Counter, "Attached groups that were lost without being told to leave."};
inline constexpr MetricSpec kGroupReady{"group_ready", Gauge,
                                        "1 while the group's steps complete, else 0."};
inline constexpr MetricSpec kGroupIncarnation{"group_incarnation", Gauge,
                                              "The group's number; rises with each attachment."};
inline constexpr MetricSpec kGroupRanks{"group_ranks", Gauge, "Ranks of the group."};
inline constexpr MetricSpec kSteps{"steps_total", Counter, "Steps that the group executed."};
inline constexpr MetricSpec kStepSeconds{
    "step_seconds_total", Counter,
    "Time of steps from plan to result; overlapping ones count once."};
inline constexpr MetricSpec kStageCompute{
    "stage_compute_seconds_total", Counter,
    "Time that stages computed, summed over stages; sums between a stage's ranks included."};
inline constexpr MetricSpec kStageWait{"stage_wait_seconds_total", Counter,
                                       "Time that stages waited for each other."};
inline constexpr MetricSpec kDrafted{"spec_decode_num_draft_tokens_total", Counter,
                                     "Tokens guessed (speculate)."};
inline constexpr MetricSpec kDraftsAccepted{"spec_decode_num_accepted_tokens_total", Counter,
                                            "Of those, tokens that were right."};
inline constexpr MetricSpec kExpertLoad{
    "expert_load_share", Gauge,
    "Share of its layer's tokens that an expert worked on, of the few with the largest."};

}  // namespace metric
}  // namespace trireme
