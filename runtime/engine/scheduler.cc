#include "runtime/engine/scheduler.h"

#include <algorithm>
#include <limits>

#include "runtime/base/check.h"

namespace trireme {
namespace {

TokenEvent EndOf(uint64_t request, FinishReason finish, absl::Status error) {
  TokenEvent event;
  event.request = request;
  event.finish = finish;
  event.error = std::move(error);
  return event;
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits), accounts_(limits.pages), chunk_accounts_(limits.chunk_pages) {}

int64_t Scheduler::PagesFor(int64_t positions) const {
  return (positions + limits_.page_tokens - 1) / limits_.page_tokens;
}

bool Scheduler::TakePages(Sequence& sequence) {
  const Request& request = sequence.request;
  // The last token drawn is never run, so its key needs no page.
  const int64_t positions = static_cast<int64_t>(request.prompt.size()) + request.max_tokens - 1;
  const int64_t of_chunk = PagesFor(std::min(positions, limits_.chunk));
  if (of_chunk > chunk_accounts_.free()) return false;
  auto pages = accounts_.Take(PagesFor(positions));
  if (!pages) return false;
  sequence.pages = *std::move(pages);
  sequence.chunk_pages = *chunk_accounts_.Take(of_chunk);
  return true;
}

void Scheduler::ReturnPages(const Sequence& sequence) {
  accounts_.Return(sequence.pages);
  chunk_accounts_.Return(sequence.chunk_pages);
}

void Scheduler::Add(Request request) { waiting_.push_back(std::move(request)); }

Sequence* Scheduler::Find(uint64_t id) {
  const auto found = std::find_if(running_.begin(), running_.end(),
                                  [id](const Sequence& s) { return s.request.id == id; });
  return found == running_.end() ? nullptr : &*found;
}

void Scheduler::Remove(uint64_t id) {
  const auto found = std::find_if(running_.begin(), running_.end(),
                                  [id](const Sequence& s) { return s.request.id == id; });
  if (in_flight_) {
    cancelled_in_flight_.push_back(std::move(*found));
  } else {
    ReturnPages(*found);
  }
  running_.erase(found);
}

std::optional<TokenEvent> Scheduler::Cancel(uint64_t id) {
  const auto queued = std::find_if(waiting_.begin(), waiting_.end(),
                                   [id](const Request& request) { return request.id == id; });
  if (queued != waiting_.end()) {
    waiting_.erase(queued);
    return EndOf(id, FinishReason::kCancelled, absl::OkStatus());
  }
  if (Find(id) == nullptr) return std::nullopt;
  Remove(id);
  return EndOf(id, FinishReason::kCancelled, absl::OkStatus());
}

std::vector<TokenEvent> Scheduler::Fail(const absl::Status& error) {
  std::vector<TokenEvent> events;
  in_flight_ = false;
  expected_.clear();
  for (const Sequence& sequence : cancelled_in_flight_) ReturnPages(sequence);
  cancelled_in_flight_.clear();
  for (const Sequence& sequence : running_) {
    ReturnPages(sequence);
    events.push_back(EndOf(sequence.request.id, FinishReason::kError, error));
  }
  for (const Request& request : waiting_) {
    events.push_back(EndOf(request.id, FinishReason::kError, error));
  }
  running_.clear();
  waiting_.clear();
  return events;
}

void Scheduler::Admit() {
  while (!waiting_.empty() && running() < limits_.max_sequences) {
    Sequence sequence;
    sequence.request = std::move(waiting_.front());
    if (!TakePages(sequence)) {
      waiting_.front() = std::move(sequence.request);
      return;
    }
    sequence.tokens = sequence.request.prompt;
    waiting_.pop_front();
    running_.push_back(std::move(sequence));
  }
}

std::optional<StepPlan> Scheduler::Next() {
  if (in_flight_) return std::nullopt;
  Admit();
  if (running_.empty()) return std::nullopt;
  StepPlan plan;
  plan.step = ++step_;
  plan.span_offsets.push_back(0);
  plan.page_offsets.push_back(0);
  if (limits_.chunk > 0) plan.chunk_page_offsets.push_back(0);
  expected_.clear();
  const auto left = [&] {
    return limits_.max_step_tokens - static_cast<int64_t>(plan.tokens.size());
  };
  for (const bool decoding : {true, false}) {
    for (Sequence& sequence : running_) {
      if ((sequence.computed >= sequence.prompt_size()) != decoding || left() == 0) continue;
      AppendRows(sequence, std::min({sequence.pending(), left(), LeftOfChunk(sequence)}), plan);
    }
  }
  in_flight_ = true;
  return plan;
}

void Scheduler::AppendRows(Sequence& sequence, int64_t rows, StepPlan& plan) {
  const int64_t first = sequence.computed;
  AppendSamples(sequence, first, rows, plan);
  for (int64_t i = first; i < first + rows; ++i) {
    plan.tokens.push_back(sequence.tokens[static_cast<size_t>(i)]);
    plan.positions.push_back(static_cast<int32_t>(i));
  }
  sequence.computed += rows;
  plan.span_offsets.push_back(static_cast<int32_t>(plan.tokens.size()));
  plan.pages.insert(plan.pages.end(), sequence.pages.begin(),
                    sequence.pages.begin() + PagesFor(sequence.computed));
  plan.page_offsets.push_back(static_cast<int32_t>(plan.pages.size()));
  if (limits_.chunk == 0) return;
  const int64_t in_chunk = (sequence.computed - 1) % limits_.chunk + 1;
  plan.chunk_pages.insert(plan.chunk_pages.end(), sequence.chunk_pages.begin(),
                          sequence.chunk_pages.begin() + PagesFor(in_chunk));
  plan.chunk_page_offsets.push_back(static_cast<int32_t>(plan.chunk_pages.size()));
}

int64_t Scheduler::LeftOfChunk(const Sequence& sequence) const {
  if (limits_.chunk == 0) return std::numeric_limits<int64_t>::max();
  return limits_.chunk - sequence.computed % limits_.chunk;
}

void Scheduler::AppendSamples(const Sequence& sequence, int64_t first, int64_t rows,
                              StepPlan& plan) {
  const Request& request = sequence.request;
  const auto base = static_cast<int32_t>(plan.tokens.size());
  for (int64_t i = first; i < first + rows; ++i) {
    const bool last = i + 1 == static_cast<int64_t>(sequence.tokens.size());
    const bool scores = request.prompt_logprobs && i + 1 < sequence.prompt_size();
    if (!last && !scores) continue;
    SampleRow sample;
    sample.row = base + static_cast<int32_t>(i - first);
    sample.num_logprobs = request.num_logprobs;
    sample.want_logits = request.want_logits;
    sample.sequence = request.sequence;
    sample.draw = request.first_draw + static_cast<uint32_t>(sequence.generated());
    sample.params = request.sampling;
    if (!last) {
      sample.target = sequence.tokens[static_cast<size_t>(i + 1)];
      sample.num_logprobs = std::max(request.num_logprobs, 0);
    }
    plan.samples.push_back(sample);
    expected_.push_back({request.id, last ? -1 : i + 1});
  }
}

std::vector<TokenEvent> Scheduler::Complete(const StepResult& result) {
  TRI_CHECK(in_flight_ && result.step == step_) << "result of step " << result.step;
  TRI_CHECK_EQ(result.samples.size(), expected_.size());
  in_flight_ = false;
  for (const Sequence& sequence : cancelled_in_flight_) ReturnPages(sequence);
  cancelled_in_flight_.clear();
  std::vector<TokenEvent> events;
  for (size_t i = 0; i < expected_.size(); ++i) {
    // Cancelled while the step ran, or ended by an earlier sample of it.
    Sequence* sequence = Find(expected_[i].request);
    if (sequence == nullptr) continue;
    const SampledToken& token = result.samples[i];
    if (!token.finite) {
      events.push_back(EndOf(sequence->request.id, FinishReason::kError,
                             absl::InternalError("the model produced NaN or infinite logits")));
      Remove(expected_[i].request);
      continue;
    }
    if (expected_[i].prompt_index >= 0) {
      TokenEvent event;
      event.request = sequence->request.id;
      event.index = static_cast<uint32_t>(expected_[i].prompt_index);
      event.has_token = true;
      event.is_prompt = true;
      event.token = token;
      events.push_back(std::move(event));
      continue;
    }
    events.push_back(TakeToken(*sequence, token));
    if (events.back().finish != FinishReason::kNone) Remove(expected_[i].request);
  }
  return events;
}

TokenEvent Scheduler::TakeToken(Sequence& sequence, SampledToken token) {
  const Request& request = sequence.request;
  TokenEvent event;
  event.request = request.id;
  event.index = request.first_draw + static_cast<uint32_t>(sequence.generated());
  event.has_token = true;
  sequence.tokens.push_back(token.token);
  const bool stop = std::find(request.stop_tokens.begin(), request.stop_tokens.end(),
                              token.token) != request.stop_tokens.end();
  if (stop) {
    event.finish = FinishReason::kStop;
  } else if (sequence.generated() >= request.max_tokens) {
    event.finish = FinishReason::kLength;
  }
  event.token = std::move(token);
  return event;
}

}  // namespace trireme
