#include "launcher/telemetry/request_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <sstream>

#include "launcher/load/refusal.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

std::string Page(const RequestMetrics& metrics) {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, metrics.Collect());
  return text.str();
}

RequestRecord Record(int32_t choice, FinishReason finish) {
  return {.id = "r",
          .choice = choice,
          .to_first_token = milliseconds(30),
          .to_end = milliseconds(700),
          .beginning = {.queued_ms = 400, .prefill_ms = 20},
          .prompt_tokens = 12,
          .completion_tokens = 3,
          .finish = finish};
}

TEST(RequestMetricsTest, CountsWhatDashboardsForVllmAskFor) {
  RequestMetrics metrics({.prefix = "vllm", .model_name = "m"});
  metrics.OnFirstToken(Record(0, FinishReason::kNone));
  metrics.OnNextToken(milliseconds(20));
  metrics.OnNextToken(milliseconds(200));
  metrics.OnEnd(Record(0, FinishReason::kStop));
  const std::string page = Page(metrics);
  for (const char* line : {
           "vllm:time_to_first_token_seconds_bucket{model_name=\"m\",le=\"0.02\"} 0\n",
           "vllm:time_to_first_token_seconds_bucket{model_name=\"m\",le=\"0.04\"} 1\n",
           "vllm:inter_token_latency_seconds_bucket{model_name=\"m\",le=\"0.025\"} 1\n",
           "vllm:inter_token_latency_seconds_count{model_name=\"m\"} 2\n",
           "vllm:request_queue_time_seconds_bucket{model_name=\"m\",le=\"0.3\"} 0\n",
           "vllm:request_queue_time_seconds_bucket{model_name=\"m\",le=\"0.5\"} 1\n",
           "vllm:e2e_request_latency_seconds_bucket{model_name=\"m\",le=\"0.8\"} 1\n",
           "vllm:request_prompt_tokens_bucket{model_name=\"m\",le=\"20\"} 1\n",
           "vllm:request_generation_tokens_bucket{model_name=\"m\",le=\"2\"} 0\n",
           "vllm:prompt_tokens_total{model_name=\"m\"} 12\n",
           "vllm:generation_tokens_total{model_name=\"m\"} 3\n",
           "vllm:request_success_total{model_name=\"m\",finished_reason=\"stop\"} 1\n",
           "vllm:request_success_total{model_name=\"m\",finished_reason=\"abort\"} 0\n",
       }) {
    EXPECT_THAT(page, HasSubstr(line));
  }
}

TEST(RequestMetricsTest, ThePromptOfSeveralCompletionsCountsOnce) {
  RequestMetrics metrics({.model_name = "m"});
  for (const int32_t choice : {0, 1, 2}) {
    metrics.OnFirstToken(Record(choice, FinishReason::kNone));
    metrics.OnEnd(Record(choice, FinishReason::kLength));
  }
  EXPECT_THAT(Page(metrics), HasSubstr("trireme:prompt_tokens_total{model_name=\"m\"} 12\n"));
  EXPECT_THAT(
      Page(metrics),
      HasSubstr("trireme:request_success_total{model_name=\"m\",finished_reason=\"length\"} 3\n"));
}

TEST(RequestMetricsTest, RefusalsAreCountedByReason) {
  RequestMetrics metrics({.model_name = "m"});
  metrics.OnRefused(Refusal(absl::StatusCode::kResourceExhausted, RefusalReason::kLongWait, "later",
                            milliseconds(1)));
  metrics.OnRefused(absl::InvalidArgumentError("no"));
  metrics.OnRefused(absl::InvalidArgumentError("no"));
  RequestRecord slow = Record(0, FinishReason::kError);
  slow.error = Refusal(absl::StatusCode::kResourceExhausted, RefusalReason::kSlowReader, "slow",
                       milliseconds(1));
  metrics.OnEnd(slow);
  const std::string page = Page(metrics);
  EXPECT_THAT(page, HasSubstr("requests_refused_total{model_name=\"m\",reason=\"long_wait\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("requests_refused_total{model_name=\"m\",reason=\"invalid\"} 2\n"));
  EXPECT_THAT(page,
              HasSubstr("requests_refused_total{model_name=\"m\",reason=\"slow_reader\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("requests_refused_total{model_name=\"m\",reason=\"full\"} 0\n"));
}

TEST(RequestMetricsTest, APrefixIsAWord) {
  for (const char* good : {"trireme", "vllm", "a_1", "_x"})
    EXPECT_TRUE(IsMetricPrefix(good)) << good;
  for (const char* bad : {"", "1a", "a:b", "a b", "a\n", "é"}) {
    EXPECT_FALSE(IsMetricPrefix(bad)) << bad;
  }
}

}  // namespace
}  // namespace trireme
