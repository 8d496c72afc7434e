// Which rows of which sequences make the next step. A value: events in (Add, Cancel, Complete),
// plans out (Next); no clock, thread, tensor or lock, so that many simulated days run in a unit
// test.
//
// Policy: sequences are admitted in order of arrival when the pages of their longest possible
// completion are free, so that an admitted sequence never waits for a page. A step takes one row of
// every decoding sequence, then fills the row budget with pieces of prompts in order of admission.
//
// INV-SCHED-1: every added request gets exactly one event with finish != kNone.
// INV-SCHED-2: a plan has at most max_step_tokens rows and max_sequences spans.
// INV-SCHED-3: after a request's last event none of its pages is held.
// INV-SCHED-4: no span crosses from one chunk of attention into the next, whose keys take the place
// of the last one's.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "runtime/engine/page_accounts.h"
#include "runtime/engine/request.h"
#include "runtime/engine/sequence.h"
#include "runtime/step/step_plan.h"

namespace trireme {

struct SchedulerLimits {
  int64_t pages = 0;
  int64_t chunk = 0;        // positions of a chunk of attention; 0: the model has no chunked layers
  int64_t chunk_pages = 0;  // of chunked layers
  int64_t page_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_step_tokens = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  // The pages of prompt + max_tokens must fit an empty pool (the caller has checked).
  void Add(Request request);
  // The end of the request, unless it is unknown; if a step is in flight its result for this
  // request is dropped.
  std::optional<TokenEvent> Cancel(uint64_t id);
  // Ends everything with `error`.
  std::vector<TokenEvent> Fail(const absl::Status& error);

  // The next step; nullopt when there is nothing to run or a step is already in flight.
  std::optional<StepPlan> Next();
  // Applies the result of the plan that Next returned last.
  std::vector<TokenEvent> Complete(const StepResult& result);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t free_pages() const { return accounts_.free(); }
  int64_t free_chunk_pages() const { return chunk_accounts_.free(); }
  uint64_t steps() const { return step_; }

 private:
  // A sample of the plan in flight: which sequence it is for, and which prompt token it scores (-1:
  // a draw).
  struct Expected {
    uint64_t request = 0;
    int64_t prompt_index = -1;
  };

  void Admit();
  bool TakePages(Sequence& sequence);
  void ReturnPages(const Sequence& sequence);
  int64_t PagesFor(int64_t positions) const;
  // Rows that the sequence may run before its next chunk of attention begins.
  int64_t LeftOfChunk(const Sequence& sequence) const;
  void AppendRows(Sequence& sequence, int64_t rows, StepPlan& plan);
  void AppendSamples(const Sequence& sequence, int64_t first, int64_t rows, StepPlan& plan);
  Sequence* Find(uint64_t id);
  TokenEvent TakeToken(Sequence& sequence, SampledToken token);
  void Remove(uint64_t id);

  SchedulerLimits limits_;
  PageAccounts accounts_;
  PageAccounts chunk_accounts_;
  std::deque<Request> waiting_;
  std::deque<Sequence> running_;  // in order of admission
  std::vector<Expected> expected_;
  // Cancelled while the step in flight may still write to their pages.
  std::vector<Sequence> cancelled_in_flight_;
  bool in_flight_ = false;
  uint64_t step_ = 0;
};

}  // namespace trireme
