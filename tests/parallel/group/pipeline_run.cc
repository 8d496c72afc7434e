#include "tests/parallel/group/pipeline_run.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "parallel/group/group_executor.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/model/architecture.h"
#include "runtime/stage/stage.h"

namespace trireme {
namespace {

constexpr int kSequences = 4;
constexpr int kPrompt = 5;
constexpr int kTokens = 40;  // prompt and completion: past two chunks of attention
constexpr int64_t kPageTokens = 8;
constexpr int64_t kPagesEach = kTokens / kPageTokens;
// Each sequence has as many pages again, which it moves to in the middle of its life.
constexpr int64_t kPages = 2 * kSequences * kPagesEach;
constexpr int kMovesAt = 21;
constexpr uint64_t kStepsBetweenLoads = 5;
constexpr std::string_view kModel = "/tests/data/models/llama4-maverick-tiny";

absl::StatusOr<std::unique_ptr<Stage>> MakeStage(const PipelineRun& run, int rank) {
  TRI_ASSIGN_OR_RETURN(Checkpoint checkpoint,
                       OpenCheckpoint(std::string(TRIREME_SOURCE_DIR) + std::string(kModel)));
  StageParts parts;
  TRI_ASSIGN_OR_RETURN(parts.config, ConfigOf(checkpoint));
  TRI_ASSIGN_OR_RETURN(parts.architecture, FindArchitecture(parts.config.architecture));
  TRI_ASSIGN_OR_RETURN(parts.extent,
                       MakeExtent(parts.config, {.stage = rank, .stages = run.stages}));
  TRI_ASSIGN_OR_RETURN(parts.weights, Weights::Bind(parts.architecture->tensors(parts.config),
                                                    parts.extent, std::move(checkpoint.tensors)));
  TRI_ASSIGN_OR_RETURN(parts.ops, MakeCpuOps({.threads = 1}));
  // The moves need the pages of the second half.
  const int64_t pages = rank == run.failing_stage ? kPages / 2 : kPages;
  return Stage::Create(std::move(parts), {.pages = pages,
                                          .chunk_pages = kPages,
                                          .page_tokens = kPageTokens,
                                          .max_step_tokens = kPrompt,
                                          .max_positions = kTokens});
}

// One sequence, which knows its next plan once it has its last token.
class Decoding {
 public:
  Decoding(int index, int64_t chunk) : index_(index), chunk_(chunk) {
    for (int i = 0; i < kPrompt; ++i) tokens_.push_back(7 * index + 3 * i + 1);
  }

  bool done() const { return static_cast<int>(tokens_.size()) == kTokens; }

  StepPlan Next(uint64_t step) {
    StepPlan plan;
    plan.step = step;
    plan.report_loads = step % kStepsBetweenLoads == 0;
    if (computed_ == kMovesAt) Move(plan);
    for (; computed_ < static_cast<int>(tokens_.size()); ++computed_) {
      plan.tokens.push_back(tokens_[static_cast<size_t>(computed_)]);
      plan.positions.push_back(computed_);
    }
    const auto rows = static_cast<int32_t>(plan.tokens.size());
    plan.span_offsets = {0, rows};
    for (int64_t i = 0; i < Pages(computed_); ++i) plan.pages.push_back(Page(i));
    plan.page_offsets = {0, static_cast<int32_t>(plan.pages.size())};
    for (int64_t i = 0; i < Pages((computed_ - 1) % chunk_ + 1); ++i) {
      plan.chunk_pages.push_back(Page(i));
    }
    plan.chunk_page_offsets = {0, static_cast<int32_t>(plan.chunk_pages.size())};
    plan.samples = {{.row = rows - 1,
                     .num_logprobs = 2,
                     .draw = static_cast<uint32_t>(computed_),
                     .params = {.temperature = index_ % 2 == 0 ? 0.0F : 0.9F, .seed = 11}}};
    return plan;
  }

  void Take(const StepResult& result) {
    const SampledToken& token = result.samples.at(0);
    tokens_.push_back(token.token);
    absl::StrAppendFormat(&text_, "%d %a %a;", token.token, token.logprob,
                          token.top_logprobs.at(1));
    int64_t loads = 0;
    for (const int64_t load : result.expert_loads) loads = loads * 31 + load;
    if (!result.expert_loads.empty()) absl::StrAppendFormat(&text_, " loads %d;", loads);
  }
  const std::string& text() const { return text_; }

 private:
  static int64_t Pages(int64_t positions) { return (positions + kPageTokens - 1) / kPageTokens; }
  int32_t Page(int64_t i) const {
    return static_cast<int32_t>((moved_ ? kPages / 2 : 0) + index_ * kPagesEach + i);
  }

  // From now on in other pages.
  void Move(StepPlan& plan) {
    for (int64_t i = 0; i < Pages(computed_); ++i) {
      const auto to = static_cast<int32_t>(Page(i) + kPages / 2);
      plan.page_copies.insert(plan.page_copies.end(), {Page(i), to});
      plan.chunk_page_copies.insert(plan.chunk_page_copies.end(), {Page(i), to});
    }
    moved_ = true;
  }

  const int index_;
  const int64_t chunk_;
  std::vector<int32_t> tokens_;
  int computed_ = 0;
  bool moved_ = false;
  std::string text_;
};

absl::Status Decode(GroupExecutor& executor, std::vector<Decoding>& sequences,
                    PipelineOutcome& outcome) {
  std::deque<Decoding*> ready;
  std::deque<Decoding*> in_flight;
  for (Decoding& sequence : sequences) ready.push_back(&sequence);
  uint64_t step = 0;
  while (!ready.empty() || !in_flight.empty()) {
    while (!ready.empty() && static_cast<int>(in_flight.size()) < executor.depth()) {
      TRI_RETURN_IF_ERROR(executor.Submit(ready.front()->Next(++step), [] {}));
      in_flight.push_back(ready.front());
      ready.pop_front();
    }
    outcome.most_in_flight = std::max(outcome.most_in_flight, static_cast<int>(in_flight.size()));
    TRI_ASSIGN_OR_RETURN(const StepResult result, executor.Await(Deadline::AfterMs(30'000)));
    Decoding* const sequence = in_flight.front();
    in_flight.pop_front();
    sequence->Take(result);
    if (!sequence->done()) ready.push_back(sequence);
  }
  return absl::OkStatus();
}

}  // namespace

PipelineOutcome RunPipeline(Communicator& world, const PipelineRun& run) {
  PipelineOutcome outcome;
  auto stage_comm = world.Split(world.rank(), 0, Deadline::AfterMs(30'000));
  TRI_CHECK_OK(stage_comm.status());
  auto stage = MakeStage(run, world.rank());
  TRI_CHECK_OK(stage.status());
  const GroupLinks links{.world = &world,
                         .stage = stage_comm->get(),
                         .wake_followers = [] {},
                         .sleep = [](Deadline) { std::this_thread::yield(); },
                         .begin_step = [](uint64_t, Deadline) {},
                         .end_step = [] {},
                         .step_timeout_ms = run.step_timeout_ms,
                         .max_in_flight = run.max_in_flight};
  if (world.rank() > 0) {
    outcome.status = RunFollower(*std::move(stage), links);
    return outcome;
  }
  const int64_t chunk = AttentionChunk((*stage)->config());
  std::vector<Decoding> sequences;
  for (int i = 0; i < kSequences; ++i) sequences.emplace_back(i, chunk);
  {
    GroupExecutor executor(*std::move(stage), links);
    outcome.status = Decode(executor, sequences, outcome);
    if (!outcome.status.ok()) outcome.again = executor.Await(Deadline::Never()).status();
  }
  for (const Decoding& sequence : sequences) outcome.sequences.push_back(sequence.text());
  return outcome;
}

}  // namespace trireme
