// Random days of a scheduler over a model of pages' contents: small caches and large requests, so
// that everything that can run out does.
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <map>
#include <random>

#include "runtime/engine/scheduler.h"
#include "tests/runtime/engine/paged_model.h"

namespace trireme {
namespace {

constexpr int32_t kVocabulary = 4;
constexpr int kTurnsWithArrivals = 40;

class Day {
 public:
  explicit Day(unsigned seed)
      : random_(seed),
        limits_(RandomLimits()),
        model_(limits_, kVocabulary, random_() % 2 == 0 ? 2 : 0),
        scheduler_(limits_) {}

  // What went wrong; "" when nothing did.
  std::string Run() {
    while (wrong_.empty() && !(turn_ > kTurnsWithArrivals && scheduler_.idle())) {
      ++turn_;
      if (turn_ <= kTurnsWithArrivals && random_() % 3 == 0) Arrive();
      if (random_() % 12 == 0 && next_id_ > 1) {
        if (auto end = scheduler_.Cancel(1 + random_() % (next_id_ - 1))) {
          Take(*end, FinishReason::kCancelled);
        }
      }
      for (const TokenEvent& end : scheduler_.Expire(turn_)) Take(end, FinishReason::kError);
      Step();
      if (turn_ > 40 + 30 * rows_asked_) wrong_ = "it does not end";
    }
    while (wrong_.empty() && !results_.empty()) Complete();
    if (wrong_.empty()) CheckEnd();
    return wrong_;
  }
  const SchedulerCounters& counters() const { return scheduler_.counters(); }

 private:
  struct Client {
    Request request;
    std::vector<int32_t> completion;  // of its lone run
    size_t taken = 0;
    int64_t scored = 0;
    int ends = 0;
  };

  int64_t Draw(int64_t from, uint64_t count) {
    return from + static_cast<int64_t>(random_() % count);
  }

  SchedulerLimits RandomLimits() {
    SchedulerLimits limits{.pages = Draw(4, 12),
                           .page_tokens = Draw(1, 5),
                           .max_sequences = Draw(1, 6),
                           .max_step_tokens = Draw(1, 12),
                           .depth = Draw(1, 4),
                           .prefix_cache = random_() % 4 != 0,
                           .isolate_tenants = random_() % 3 == 0,
                           .speculative_tokens = random_() % 2 == 0 ? Draw(1, 4) : 0,
                           .ageing_ms = Draw(0, 20),
                           .tenant_quantum = Draw(1, 30)};
    if (random_() % 2 == 0) {
      limits.chunk = random_() % 4 == 0 ? Draw(1, 12) : limits.page_tokens * Draw(1, 4);
      limits.chunk_pages =
          (limits.chunk + limits.page_tokens - 1) / limits.page_tokens + Draw(0, 9);
    }
    return limits;
  }

  // Prompts begin with tokens of few texts, so that they share.
  void Arrive() {
    const uint64_t copies = random_() % 4 == 0 ? 1 + random_() % 4 : 1;
    Client client;
    Request& request = client.request;
    const int64_t capacity = limits_.pages * limits_.page_tokens;
    const int64_t prompt = Draw(1, static_cast<uint64_t>(std::min<int64_t>(capacity, 24)));
    const auto text = static_cast<int32_t>(random_() % 2);
    const int64_t alike = Draw(0, 25);
    for (int64_t i = 0; i < prompt; ++i) {
      const int32_t shared = static_cast<int32_t>(i * (text + 1) / 3) % kVocabulary;
      request.prompt.push_back(i < alike ? shared : static_cast<int32_t>(random_() % kVocabulary));
    }
    const int64_t most = std::min<int64_t>(capacity - prompt + 1, 10);
    request.max_tokens = static_cast<int32_t>(Draw(1, static_cast<uint64_t>(most)));
    request.prompt_logprobs = random_() % 6 == 0;
    request.priority = static_cast<int32_t>(Draw(-1, 3));
    request.tenant = random_() % 2 == 0 ? "a" : "b";
    if (random_() % 8 == 0) request.deadline_ms = turn_ + Draw(0, 20);
    if (random_() % 3 == 0) request.stop_tokens = {static_cast<int32_t>(random_() % kVocabulary)};
    client.completion = model_.Completion(request);
    for (uint64_t i = 0; i < copies; ++i) {
      request.id = next_id_++;
      request.sequence = static_cast<uint32_t>(i);
      rows_asked_ += prompt + request.max_tokens;
      clients_[request.id] = client;
      scheduler_.Add(request, turn_);
    }
  }

  void Step() {
    const auto plan = scheduler_.Next();
    if (plan) {
      StepResult result;
      wrong_ = model_.Run(*plan, result);
      results_.push_back(std::move(result));
    } else if (results_.empty() && !scheduler_.idle()) {
      wrong_ = "INV-SCHED-6: nothing in flight, nothing to do, and somebody waits";
    }
    const bool full = static_cast<int64_t>(results_.size()) == limits_.depth;
    while (wrong_.empty() && !results_.empty() && (!plan || full || random_() % 3 == 0)) {
      Complete();
      if (plan) break;
    }
  }

  void Complete() {
    for (const TokenEvent& event : scheduler_.Complete(results_.front())) {
      Take(event, event.finish);
    }
    results_.pop_front();
  }

  void Take(const TokenEvent& event, FinishReason finish) {
    Client& client = clients_.at(event.request);
    if (client.ends > 0) return Blame(event, "INV-SCHED-1: an event after the end");
    if (event.finish != finish) return Blame(event, "the wrong end");
    if (event.finish != FinishReason::kNone) ++client.ends;
    if (!event.has_token) return;
    if (event.is_prompt) {
      if (event.index != ++client.scored) Blame(event, "INV-SCHED-7: prompt tokens out of order");
      if (event.token.token != client.request.prompt[event.index]) Blame(event, "wrong target");
      return;
    }
    if (event.index != client.taken || client.taken >= client.completion.size()) {
      return Blame(event, "INV-SCHED-7: tokens out of order");
    }
    if (event.token.token != client.completion[client.taken]) Blame(event, "another token");
    ++client.taken;
    const bool last = client.taken == client.completion.size();
    if (last != (event.finish != FinishReason::kNone)) Blame(event, "ends too soon or too late");
    const int64_t scores = static_cast<int64_t>(client.request.prompt.size()) - 1;
    if (client.request.prompt_logprobs && client.scored != scores) Blame(event, "not all scored");
  }

  void Blame(const TokenEvent& event, std::string what) {
    if (wrong_.empty()) wrong_ = absl::StrFormat("request %d: %s", event.request, what);
  }

  void CheckEnd() {
    for (const auto& [id, client] : clients_) {
      if (client.ends != 1) wrong_ = absl::StrFormat("INV-SCHED-1: request %d did not end", id);
    }
    if (scheduler_.free_pages() != limits_.pages ||
        scheduler_.free_chunk_pages() != limits_.chunk_pages) {
      wrong_ = "INV-SCHED-3: a page leaked";
    }
  }

  std::mt19937 random_;
  const SchedulerLimits limits_;
  PagedModel model_;
  Scheduler scheduler_;
  std::map<uint64_t, Client> clients_;
  std::deque<StepResult> results_;
  uint64_t next_id_ = 1;
  int64_t turn_ = 0;
  int64_t rows_asked_ = 0;
  std::string wrong_;
};

TEST(Simulation, RandomDaysKeepTheInvariants) {
  const char* asked = std::getenv("TRIREME_SIMULATED_DAYS");
  const unsigned days = asked == nullptr ? 100'000 : static_cast<unsigned>(std::atoi(asked));
  SchedulerCounters all;
  for (unsigned seed = 0; seed < days; ++seed) {
    Day day(seed);
    const std::string wrong = day.Run();
    ASSERT_EQ(wrong, "") << "day " << seed;
    all.preemptions += day.counters().preemptions;
    all.prefix_hit_tokens += day.counters().prefix_hit_tokens;
    all.accepted_tokens += day.counters().accepted_tokens;
  }
  // The days were hard enough to mean something.
  EXPECT_GT(all.preemptions, days / 10);
  EXPECT_GT(all.prefix_hit_tokens, days);
  EXPECT_GT(all.accepted_tokens, days / 10);
}

}  // namespace
}  // namespace trireme
