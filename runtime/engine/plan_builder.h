// A StepPlan in the making: rows of one sequence after the other, what to sample of them, and for
// whom each sample is when the result comes.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/engine/sequence/sequence.h"
#include "runtime/step/step_plan.h"

namespace trireme {

// Whom a sample of a plan in flight is for.
struct Expected {
  uint64_t turn = 0;
  uint32_t life = 0;
  int32_t draft = 0;          // a draw: how many drafts must be confirmed for it to count
  int64_t prompt_index = -1;  // the prompt token that it scores; -1: a draw
};

// A plan that has been handed out, as its result will need it.
struct PlanInFlight {
  uint64_t step = 0;
  std::vector<Expected> expected;  // one a SampleRow
};

class PlanBuilder {
 public:
  PlanBuilder(uint64_t step, int64_t chunk, int64_t page_tokens);

  bool empty() const { return plan_.tokens.empty(); }
  int64_t rows() const { return static_cast<int64_t>(plan_.tokens.size()); }

  // Rows of the sequence's tokens from `computed` on, then one for each of its drafts. Its pages
  // must cover them.
  void Append(Sequence& sequence, int64_t rows);
  // The beginning of a shared page goes to pages of the sequence's own, which cover `position`.
  void AppendCopy(const Sequence& sequence, const KvCopy& copy, int64_t position);

  const StepPlan& plan() const { return plan_; }
  StepPlan TakePlan() { return std::move(plan_); }
  PlanInFlight TakeExpected() { return {plan_.step, std::move(expected_)}; }
  // Those of the plan's masks, in their order.
  std::vector<GrammarState*> TakeGrammars() { return std::move(grammars_); }

 private:
  void AppendPages(const Sequence& sequence, int64_t end);
  void AppendScores(const Sequence& sequence, int64_t rows);
  void AppendDraws(Sequence& sequence);
  // The number of the mask that the sequence's grammar is to make; -1 without one.
  int32_t AppendMask(Sequence& sequence);
  PlanRange AppendBiases(const Sequence& sequence, bool ban_stops);
  SampleRow RowOf(const Sequence& sequence, int32_t row) const;

  const int64_t chunk_;
  const int64_t page_tokens_;
  StepPlan plan_;
  std::vector<Expected> expected_;
  std::vector<GrammarState*> grammars_;
};

}  // namespace trireme
