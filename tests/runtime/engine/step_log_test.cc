#include "runtime/engine/record/step_log.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "runtime/engine/record/step_trace.h"

namespace trireme {
namespace {

using nlohmann::json;
using testing::IsEmpty;

// Five rows of a prompt, of which the last is sampled, a decode row, and one with two drafts.
StepPlan MixedPlan(uint64_t step) {
  StepPlan plan;
  plan.step = step;
  plan.tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  plan.positions = {0, 1, 2, 3, 4, 9, 7, 8, 9};
  plan.span_offsets = {0, 5, 6, 9};
  plan.page_copies = {1, 2};
  for (const int32_t row : {4, 5, 6, 7, 8}) plan.samples.push_back({.row = row});
  return plan;
}

TEST(StepLog, CountsWhatAPlanHolds) {
  const StepRecord record = RecordOf(MixedPlan(7));
  EXPECT_EQ(record.step, 7U);
  EXPECT_EQ(record.rows, 9);
  EXPECT_EQ(record.spans, 3);
  EXPECT_EQ(record.prefill_rows, 5);
  EXPECT_EQ(record.decode_rows, 4);
  EXPECT_EQ(record.drafts, 2);
  EXPECT_EQ(record.samples, 5);
  EXPECT_EQ(record.page_copies, 1);
}

TEST(StepLog, ScoredPromptRowsAreNoDecodeRows) {
  StepPlan plan;
  plan.tokens = {1, 2};
  plan.positions = {0, 1};
  plan.span_offsets = {0, 2};
  plan.samples = {{.row = 0, .target = 2}, {.row = 1}};
  EXPECT_EQ(RecordOf(plan).prefill_rows, 2);
}

TEST(StepLog, KeepsTheLastStepsAndThoseInFlight) {
  StepLog log;
  EXPECT_THAT(log.Records(), IsEmpty());
  const uint64_t steps = StepLog::kRecords + 20;
  for (uint64_t step = 1; step <= steps; ++step) {
    log.Submitted(RecordOf(MixedPlan(step)));
    if (step < 2) continue;  // two in flight
    StepResult result;
    result.step = step - 1;
    result.stage_times = {{.wait_us = 1, .compute_us = static_cast<uint32_t>(step)}};
    log.Completed(result, {.awaited_ns = 10, .result_ns = 20, .completed_ns = 30});
  }
  const std::vector<StepRecord> records = log.Records();
  ASSERT_EQ(records.size(), StepLog::kRecords);
  for (size_t i = 0; i < records.size(); ++i) EXPECT_EQ(records[i].step, 21 + i);
  EXPECT_EQ(records.back().result_ns, 0);
  EXPECT_EQ(records.front().result_ns, 20);
  EXPECT_EQ(records.front().stage_times.at(0).compute_us, 22U);
}

TEST(StepTrace, DrawsStagesOneAfterTheOtherAndWhatIsInFlight) {
  std::vector<StepRecord> steps(2, RecordOf(MixedPlan(1)));
  steps[1].step = 2;
  steps[0].planning_ns = 1'000;
  steps[0].planned_ns = 2'000;
  steps[0].submitted_ns = 103'000;
  steps[0].awaited_ns = 110'000;
  steps[0].result_ns = 400'000;
  steps[0].completed_ns = 401'000;
  steps[0].stage_times = {{.wait_us = 0, .compute_us = 100}, {.wait_us = 5, .compute_us = 200}};
  steps[1].planning_ns = 105'000;
  steps[1].planned_ns = 106'000;
  steps[1].submitted_ns = 210'000;
  steps[1].awaited_ns = 410'000;
  const json trace =
      json::parse(ChromeTrace({.steps = steps,
                               .hosts = {"a", "b\"\xff"},
                               .operations = {{.name = "receive", .begin_ns = 7'000}},
                               .reason = "rank 1 is lost",
                               .now_ns = 500'000}));
  int computes = 0;
  bool waits = false;
  bool mark = false;
  for (const json& event : trace["traceEvents"]) {
    for (const char* field : {"ph", "name", "pid", "tid", "ts"}) EXPECT_TRUE(event.contains(field));
    if (event["ph"] == "X") {
      EXPECT_GE(event["dur"].get<double>(), 0);
    }
    if (event["ph"] == "X" && event["tid"] == 3) {
      ++computes;
      EXPECT_EQ(event["ts"], event["pid"] == 0 ? 2.0 : 102.0);
    }
    // The second step is waited for still.
    waits = waits || (event["ph"] == "X" && event["ts"] == 410.0 && event["dur"] == 90.0);
    mark = mark || (event["ph"] == "i" && event["name"] == "rank 1 is lost");
  }
  EXPECT_EQ(computes, 2);
  EXPECT_TRUE(waits);
  EXPECT_TRUE(mark);
}

}  // namespace
}  // namespace trireme
