// Which rows of which sequences make the next step. A value: events in (Add, Cancel, Expire,
// Complete), plans out (Next); no clock, thread, tensor or lock, so that many simulated days run in
// a unit test. Time is an argument.
//
// Policy. Requests wait in a FairQueue and are admitted while their prompts find pages, beside what
// those admitted before still need to read theirs, and a page for each of them to go on with. From
// then on a sequence has its turn: in order of turns, a step takes one row (and drafts) of each
// sequence that decodes and pieces of the texts of those that read, until its rows are full. Pages
// are taken when rows need them. Where there is none left, the sequence whose turn is last gives up
// its own and waits to be admitted again, before anybody new; it keeps its tokens and reads them
// again. The first turn is never given up, so everything admitted ends.
//
// Several plans may be in flight (SchedulerLimits::depth); then the decoding sequences are dealt
// evenly to so many plans. A sequence whose next token is being drawn is in no other plan; pieces
// of a text may be in plans one after the other.
//
// Sequences that begin alike compute their beginning once: a sequence takes what is in pages
// already (KvAccounts), and waits while another one is reading the very tokens that it is to read
// next. Of two that could wait for each other, the one further on, or of the earlier turn, reads.
//
// INV-SCHED-1: every added request gets exactly one event with finish != kNone.
// INV-SCHED-2: a plan has at most max_step_tokens rows and max_sequences spans.
// INV-SCHED-3: after a request's last event it holds no page.
// INV-SCHED-4: no span crosses from one chunk of attention into the next.
// INV-SCHED-5: no page that a plan writes is named by another of its spans.
// INV-SCHED-6: with nothing in flight and a request here, Next gives a plan.
// INV-SCHED-7: no token or log-probability is reported twice.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "runtime/engine/fair_queue.h"
#include "runtime/engine/pages/kv_accounts.h"
#include "runtime/engine/plan_builder.h"
#include "runtime/engine/request.h"
#include "runtime/engine/sequence/sequence.h"
#include "runtime/step/step_plan.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

struct SchedulerLimits {
  int64_t pages = 0;
  int64_t chunk = 0;        // positions of a chunk of attention; 0: the model has no chunked layers
  int64_t chunk_pages = 0;  // of chunked layers
  int64_t page_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_step_tokens = 0;
  int64_t depth = 1;  // plans in flight at most
  bool prefix_cache = true;
  bool isolate_tenants = false;          // sequences share pages with those of their tenant only
  int64_t speculative_tokens = 0;        // guesses checked in a step, a sequence
  int64_t ageing_ms = 10'000;            // of waiting that make up for a level of priority
  int64_t tenant_quantum = 1024;         // tokens that a tenant gets a round
  const Tokenizer* tokenizer = nullptr;  // needed by stop strings
};

// Since the start.
struct SchedulerCounters {
  uint64_t preemptions = 0;
  int64_t prefix_queried_tokens = 0;  // of texts to read, when their sequence is admitted
  int64_t prefix_hit_tokens = 0;      // of those, found in pages
  int64_t prompt_tokens = 0;          // of requests admitted
  int64_t generated_tokens = 0;
  int64_t drafted_tokens = 0;
  int64_t accepted_tokens = 0;  // of those drafted
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);

  // The id must not be here; prompt + max_tokens must fit an empty cache (the caller has checked).
  // `grammar`: compiled of the request's; null where it has none.
  void Add(Request request, int64_t now_ms,
           std::shared_ptr<const CompiledGrammar> grammar = nullptr);
  // The end of the request, unless it is unknown. What plans in flight give for it is dropped.
  std::optional<TokenEvent> Cancel(uint64_t id);
  // Ends, with DEADLINE_EXCEEDED, those whose deadline has come. The time also counts as that of
  // what follows, until it is told again.
  std::vector<TokenEvent> Expire(int64_t now_ms);
  // Ends everything with `error`; results of plans in flight will not come.
  std::vector<TokenEvent> Fail(const absl::Status& error);

  // The next step; nullopt when there is nothing to run until a result comes, or depth plans are in
  // flight.
  std::optional<StepPlan> Next();
  // Those that are to make the late masks of the plan that Next gave last, in their order. Theirs
  // until anything else is called here.
  std::span<GrammarState* const> grammars() const { return grammars_; }
  // Applies the result of the oldest plan in flight. `now_ms`: as in Expire; 0: as last told.
  std::vector<TokenEvent> Complete(const StepResult& result, int64_t now_ms = 0);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(sequences_.size()) - running(); }
  bool idle() const { return sequences_.empty(); }
  // Pages that nobody holds, and how many of them hold something that may be found again.
  int64_t free_pages() const { return kv_.pages().available(); }
  int64_t free_chunk_pages() const { return kv_.chunk_pages().available(); }
  int64_t cached_pages() const { return kv_.pages().idle(); }
  uint64_t steps() const { return step_; }
  const SchedulerCounters& counters() const { return counters_; }

 private:
  void Admit();
  // The one to be admitted next; null when nobody waits.
  Sequence* NextToAdmit();
  bool HasRoomFor(const Sequence& sequence) const;
  void Run(Sequence& sequence);

  // Takes rows of the sequence if it has some to run, and pages for them.
  void Plan(Sequence& sequence, PlanBuilder& builder);
  // Moves a sequence that reads on over the pages that are there already.
  void TakeShared(Sequence& sequence);
  void CountHits(Sequence& sequence, int64_t tokens);
  bool AtPageStart(const Sequence& sequence) const;
  bool WaitsForAnother(const Sequence& sequence) const;
  bool ReadsInPlan(const Sequence& sequence) const;
  // How many positions from `first` on have or find pages; later turns are preempted while that is
  // none. 0: it must wait.
  int64_t FindRoom(Sequence& sequence, int64_t first);
  void Preempt(Sequence& sequence);
  // Guesses for a sequence that decodes; at most `most`.
  std::vector<int32_t> DraftsFor(Sequence& sequence, int64_t most);
  StepPlan FinishPlan(PlanBuilder& builder);

  Sequence* Find(const Expected& expected);
  TokenEvent TakeScore(Sequence& sequence, int64_t prompt_index, SampledToken token);
  TokenEvent TakeDraw(Sequence& sequence, int32_t draft, SampledToken token);
  TokenEvent End(Sequence& sequence, FinishReason finish, absl::Status error);
  // Forgets the sequence, wherever it is.
  void Remove(Sequence& sequence);

  const SchedulerLimits limits_;
  KvAccounts kv_;
  FairQueue queue_;
  std::unordered_map<uint64_t, std::unique_ptr<Sequence>> sequences_;  // all, by id of the request
  std::vector<Sequence*> running_;                                     // by turn
  std::map<uint64_t, Sequence*> preempted_;                            // by turn
  std::set<std::pair<int64_t, uint64_t>> deadlines_;                   // with ids of requests
  std::deque<PlanInFlight> in_flight_;
  int64_t now_ms_ = 0;  // as last told
  uint64_t turns_ = 0;
  uint64_t step_ = 0;
  SchedulerCounters counters_;
  // Of the plan being made:
  struct Planned {
    Sequence* sequence;
    bool was_reading;
  };
  std::vector<Planned> planned_;
  std::vector<GrammarState*> grammars_;
  int64_t decoders_ahead_ = 0;  // sequences that it is still to take one row of
  int64_t rows_left_ = 0;
  int64_t drafts_left_ = 0;
};

}  // namespace trireme
