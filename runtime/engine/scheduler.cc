#include "runtime/engine/scheduler.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace trireme {
namespace {

bool HasEarlierTurn(const Sequence* sequence, uint64_t turn) { return sequence->turn < turn; }

absl::Status WhyNothingIsDrawn(const SampledToken& token) {
  if (token.all_banned) {
    return absl::InvalidArgumentError(
        "logit_bias, and the grammar or min_tokens if any, leave no token to draw");
  }
  return absl::InternalError("the model produced NaN or infinite logits");
}

}  // namespace

Scheduler::Scheduler(const SchedulerLimits& limits)
    : limits_(limits),
      kv_({.pages = limits.pages,
           .chunk = limits.chunk,
           .chunk_pages = limits.chunk_pages,
           .page_tokens = limits.page_tokens,
           .prefix_cache = limits.prefix_cache}),
      queue_(limits.tenant_quantum) {}

void Scheduler::Add(Request request, int64_t now_ms,
                    std::shared_ptr<const CompiledGrammar> grammar) {
  const uint64_t id = request.id;
  auto sequence =
      std::make_unique<Sequence>(std::move(request), limits_.tokenizer, std::move(grammar));
  now_ms_ = sequence->arrived_ms = now_ms;
  const Request& kept = sequence->request();
  if (limits_.isolate_tenants) sequence->pages.salt = kept.tenant;
  if (kept.deadline_ms > 0) deadlines_.emplace(kept.deadline_ms, id);
  queue_.Push({.id = id,
               .tenant = kept.tenant,
               .rank = FairQueue::RankOf(now_ms, kept.priority, limits_.ageing_ms),
               .tokens = sequence->prompt_size() + kept.max_tokens});
  const bool added = sequences_.emplace(id, std::move(sequence)).second;
  TRI_CHECK(added) << "request " << id << " is here already";
}

std::optional<TokenEvent> Scheduler::Cancel(uint64_t id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return std::nullopt;
  return End(*found->second, FinishReason::kCancelled, absl::OkStatus());
}

std::vector<TokenEvent> Scheduler::Expire(int64_t now_ms) {
  now_ms_ = now_ms;
  std::vector<TokenEvent> events;
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_ms) {
    events.push_back(End(*sequences_.at(deadlines_.begin()->second), FinishReason::kError,
                         absl::DeadlineExceededError("the request's deadline has passed")));
  }
  return events;
}

std::vector<TokenEvent> Scheduler::Fail(const absl::Status& error) {
  std::vector<TokenEvent> events;
  in_flight_.clear();
  while (!sequences_.empty()) {
    events.push_back(End(*sequences_.begin()->second, FinishReason::kError, error));
  }
  return events;
}

TokenEvent Scheduler::End(Sequence& sequence, FinishReason finish, absl::Status error) {
  TokenEvent event;
  event.request = sequence.request().id;
  event.finish = finish;
  event.error = std::move(error);
  Remove(sequence);
  return event;
}

void Scheduler::Remove(Sequence& sequence) {
  const Request& request = sequence.request();
  if (sequence.turn == 0) {
    queue_.Remove(request.id);
  } else {
    queue_.GiveBack(request.tenant, request.max_tokens - sequence.generated());
    if (preempted_.erase(sequence.turn) == 0) {
      kv_.Release(sequence.pages);
      running_.erase(std::find(running_.begin(), running_.end(), &sequence));
    }
  }
  deadlines_.erase({request.deadline_ms, request.id});
  sequences_.erase(sequences_.find(request.id));
}

Sequence* Scheduler::NextToAdmit() {
  if (!preempted_.empty()) return preempted_.begin()->second;
  return queue_.empty() ? nullptr : sequences_.at(queue_.Front().id).get();
}

void Scheduler::Admit() {
  while (running() < limits_.max_sequences) {
    Sequence* next = NextToAdmit();
    if (next == nullptr || !HasRoomFor(*next)) return;
    Run(*next);
  }
}

bool Scheduler::HasRoomFor(const Sequence& sequence) const {
  if (running_.empty()) return true;
  int64_t pages = kv_.PagesFor(std::min(sequence.size() + 1, sequence.longest())) -
                  kv_.HeldByOthers(sequence.pages.salt, sequence.tokens(), sequence.shareable());
  int64_t chunk_pages = kv_.PagesFor(std::min(sequence.size(), limits_.chunk));
  for (const Sequence* other : running_) {
    const SequencePages& held = other->pages;
    const auto claim = [&](const std::vector<int32_t>& theirs, int64_t now, int64_t later) {
      const auto count = static_cast<int64_t>(theirs.size());
      return std::max<int64_t>(kv_.PagesFor(now) - count, 0) +
             (kv_.PagesFor(later) > count ? 1 : 0);
    };
    pages += claim(held.pages, other->size(), other->longest());
    const int64_t chunk_end = held.chunk_start + limits_.chunk;
    chunk_pages += claim(held.chunk_pages, std::min(other->size(), chunk_end) - held.chunk_start,
                         std::min(other->longest(), chunk_end) - held.chunk_start);
  }
  return pages <= free_pages() && (limits_.chunk == 0 || chunk_pages <= free_chunk_pages());
}

void Scheduler::Run(Sequence& sequence) {
  if (sequence.turn == 0) {
    queue_.Pop();
    sequence.turn = ++turns_;
    sequence.begun_ms = now_ms_;
    counters_.prompt_tokens += sequence.prompt_size();
  } else {
    preempted_.erase(sequence.turn);
  }
  if (kv_.shares()) counters_.prefix_queried_tokens += sequence.shareable();
  running_.insert(std::lower_bound(running_.begin(), running_.end(), sequence.turn, HasEarlierTurn),
                  &sequence);
}

std::optional<StepPlan> Scheduler::Next() {
  if (static_cast<int64_t>(in_flight_.size()) >= limits_.depth) return std::nullopt;
  Admit();
  while (!running_.empty()) {
    PlanBuilder builder(step_ + 1, limits_.chunk, limits_.page_tokens);
    int64_t decoding = 0;
    int64_t ready = 0;
    for (const Sequence* sequence : running_) {
      if (!sequence->reading()) ++decoding;
      if (sequence->pending() == 1) ++ready;
    }
    decoders_ahead_ = std::min(ready, (decoding + limits_.depth - 1) / limits_.depth);
    rows_left_ = limits_.max_step_tokens;
    drafts_left_ = limits_.max_step_tokens / 2;
    // Whoever is preempted on the way is behind.
    for (size_t i = 0; i < running_.size() && rows_left_ > 0; ++i) Plan(*running_[i], builder);
    if (!builder.empty()) return FinishPlan(builder);
    kv_.EndPlan();
    if (!in_flight_.empty()) return std::nullopt;
    // Each holds what another one needs.
    TRI_CHECK(running() > 1) << "INV-SCHED-6: a sequence that is alone does not fit";
    Preempt(*running_.back());
  }
  return std::nullopt;
}

StepPlan Scheduler::FinishPlan(PlanBuilder& builder) {
  ++step_;
  for (const auto& [sequence, was_reading] : planned_) {
    const bool tail = was_reading && sequence->pending() == 0;
    kv_.Register(sequence->pages, sequence->tokens(), sequence->computed, tail);
  }
  planned_.clear();
  kv_.EndPlan();
  grammars_ = builder.TakeGrammars();
  in_flight_.push_back(builder.TakeExpected());
  return builder.TakePlan();
}

void Scheduler::Plan(Sequence& sequence, PlanBuilder& builder) {
  if (sequence.pending() == 0) return;
  const bool reading = sequence.reading();
  KvCopy copy;
  if (reading) {
    TakeShared(sequence);
    if (WaitsForAnother(sequence)) return;
    if (AtPageStart(sequence)) {
      copy =
          kv_.PinCopy(sequence.pages, sequence.tokens(), sequence.computed, sequence.shareable());
    }
  } else {
    if (decoders_ahead_ == 0) return;
    --decoders_ahead_;
  }
  int64_t room = copy.tokens == 0 ? 0 : kv_.Room(sequence.pages, sequence.computed + copy.tokens);
  if (room == 0) {
    kv_.Unpin(copy);
    copy = {};
    room = FindRoom(sequence, sequence.computed);
  }
  sequence.stalled = room == 0;
  if (sequence.stalled) return;
  sequence.computed += copy.tokens;
  CountHits(sequence, copy.tokens);
  // Even where those that decode would fill the plan, a text is read on, if slowly.
  const int64_t most = std::min(std::max<int64_t>(rows_left_ - decoders_ahead_, 1), room);
  const int64_t rows = std::min(sequence.pending(), most);
  sequence.drafts = reading ? std::vector<int32_t>() : DraftsFor(sequence, most - 1);
  sequence.confirmed = 0;
  const int64_t all_rows = rows + static_cast<int64_t>(sequence.drafts.size());
  kv_.Take(sequence.pages, sequence.computed + all_rows);
  if (copy.tokens > 0) builder.AppendCopy(sequence, copy, sequence.computed);
  builder.Append(sequence, rows);
  sequence.computed += rows;
  rows_left_ -= all_rows;
  planned_.push_back({&sequence, reading});
}

bool Scheduler::AtPageStart(const Sequence& sequence) const {
  return kv_.shares() && static_cast<int64_t>(sequence.pages.nodes.size()) * limits_.page_tokens ==
                             sequence.computed;
}

void Scheduler::TakeShared(Sequence& sequence) {
  if (!AtPageStart(sequence)) return;
  const int64_t reached =
      kv_.Share(sequence.pages, sequence.tokens(), sequence.computed, sequence.shareable());
  CountHits(sequence, reached - sequence.computed);
  sequence.computed = reached;
}

void Scheduler::CountHits(Sequence& sequence, int64_t tokens) {
  counters_.prefix_hit_tokens += tokens;
  // What is found again after a preemption it has computed itself.
  if (sequence.life == 0) sequence.cached += tokens;
}

bool Scheduler::WaitsForAnother(const Sequence& sequence) const {
  const int64_t first = sequence.computed;
  const int64_t end = std::min(first + limits_.page_tokens, sequence.shareable());
  if (!AtPageStart(sequence) || end <= first) return false;
  const auto reads_the_same = [&](const Sequence& other) {
    const bool same_beginning = other.pages.nodes.size() == sequence.pages.nodes.size() &&
                                kv_.LastNode(other.pages) == kv_.LastNode(sequence.pages) &&
                                other.pages.salt == sequence.pages.salt;
    const bool ahead =
        other.computed > first || (other.computed == first && other.turn < sequence.turn);
    if (!same_beginning || !ahead || other.stalled || other.size() < end) return false;
    // What it reads in the plan being made is not yet known to the index.
    if (!(other.reading() && other.computed < end) && !ReadsInPlan(other)) return false;
    return std::equal(sequence.tokens().begin() + first, sequence.tokens().begin() + end,
                      other.tokens().begin() + first);
  };
  return std::any_of(running_.begin(), running_.end(),
                     [&](const Sequence* other) { return reads_the_same(*other); });
}

bool Scheduler::ReadsInPlan(const Sequence& sequence) const {
  return std::any_of(planned_.begin(), planned_.end(), [&](const Planned& planned) {
    return planned.sequence == &sequence && planned.was_reading;
  });
}

int64_t Scheduler::FindRoom(Sequence& sequence, int64_t first) {
  for (;;) {
    const int64_t room = kv_.Room(sequence.pages, first);
    if (room > 0 || running_.back() == &sequence) return room;
    Preempt(*running_.back());
  }
}

void Scheduler::Preempt(Sequence& sequence) {
  TRI_CHECK(running_.back() == &sequence);
  kv_.Release(sequence.pages);
  sequence.computed = 0;
  ++sequence.life;
  sequence.stalled = false;
  running_.pop_back();
  preempted_.emplace(sequence.turn, &sequence);
  ++counters_.preemptions;
}

std::vector<int32_t> Scheduler::DraftsFor(Sequence& sequence, int64_t most) {
  if (limits_.speculative_tokens == 0) return {};
  most = std::min({most, limits_.speculative_tokens, drafts_left_,
                   sequence.request().max_tokens - sequence.generated() - 1});
  std::vector<int32_t> drafts = sequence.Draft(most);
  drafts_left_ -= static_cast<int64_t>(drafts.size());
  counters_.drafted_tokens += static_cast<int64_t>(drafts.size());
  return drafts;
}

Sequence* Scheduler::Find(const Expected& expected) {
  const auto found =
      std::lower_bound(running_.begin(), running_.end(), expected.turn, HasEarlierTurn);
  const bool same =
      found != running_.end() && (*found)->turn == expected.turn && (*found)->life == expected.life;
  return same ? *found : nullptr;
}

std::vector<TokenEvent> Scheduler::Complete(const StepResult& result, int64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  TRI_CHECK(!in_flight_.empty() && result.step == in_flight_.front().step)
      << "result of step " << result.step;
  const std::vector<Expected> expected = std::move(in_flight_.front().expected);
  in_flight_.pop_front();
  TRI_CHECK_EQ(result.samples.size(), expected.size());
  std::vector<TokenEvent> events;
  for (size_t i = 0; i < expected.size(); ++i) {
    // Ended or preempted while the plan was in flight, or ended by an earlier sample of it.
    Sequence* sequence = Find(expected[i]);
    if (sequence == nullptr) continue;
    const SampledToken& token = result.samples[i];
    const int64_t prompt_index = expected[i].prompt_index;
    if (prompt_index < 0 && sequence->confirmed != expected[i].draft) continue;
    if (!token.finite) {
      events.push_back(End(*sequence, FinishReason::kError, WhyNothingIsDrawn(token)));
    } else if (prompt_index >= 0) {
      events.push_back(TakeScore(*sequence, prompt_index, token));
    } else {
      events.push_back(TakeDraw(*sequence, expected[i].draft, token));
    }
  }
  return events;
}

TokenEvent Scheduler::TakeScore(Sequence& sequence, int64_t prompt_index, SampledToken token) {
  TokenEvent event;
  event.request = sequence.request().id;
  event.index = static_cast<uint32_t>(prompt_index);
  event.has_token = true;
  event.is_prompt = true;
  event.token = std::move(token);
  sequence.scored = prompt_index;
  return event;
}

TokenEvent Scheduler::TakeDraw(Sequence& sequence, int32_t draft, SampledToken token) {
  TokenEvent event;
  event.request = sequence.request().id;
  event.index = static_cast<uint32_t>(sequence.made());
  event.has_token = true;
  const auto next = static_cast<size_t>(draft);
  if (next < sequence.drafts.size() && sequence.drafts[next] == token.token) ++sequence.confirmed;
  if (sequence.generated() == 0) {
    event.beginning = {.queued_ms = sequence.begun_ms - sequence.arrived_ms,
                       .prefill_ms = now_ms_ - sequence.begun_ms,
                       .cached_tokens = sequence.cached};
  }
  event.finish = sequence.TakeToken(token.token);
  event.token = std::move(token);
  ++counters_.generated_tokens;
  if (draft > 0) {
    // The row's own token was right, so its keys and values are too.
    ++counters_.accepted_tokens;
    ++sequence.computed;
    kv_.Register(sequence.pages, sequence.tokens(), sequence.computed, /*tail=*/false);
  }
  if (event.finish != FinishReason::kNone) Remove(sequence);
  return event;
}

}  // namespace trireme
