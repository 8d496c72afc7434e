// How long a request would wait for its turn in a group, judged by what the group has been doing:
// the tokens it makes a second while every slot of its steps is taken, and how many tokens a
// request takes until it ends and leaves its slot to the next. A value without clock; time is
// passed in.
//
// Only saturated time counts: a group with few requests makes fewer tokens a second than it could,
// and nobody waits there anyway. Recent time counts more (a moving average over about kMemory).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "runtime/base/deadline.h"

namespace trireme {

class QueueEstimate {
 public:
  using TimePoint = Deadline::Clock::time_point;

  static constexpr std::chrono::seconds kMemory{10};
  // Of saturated time, before anything is said.
  static constexpr std::chrono::milliseconds kLeast{500};

  // A request of at most so many tokens is given to the group.
  void OnAccept(int64_t max_tokens);
  // Something happened: a token was made (or not), and whether every slot is taken from now on.
  void Advance(TimePoint now, int64_t tokens, bool saturated);
  // A request ended after so many tokens.
  void OnEnd(int64_t tokens);

  // Until `requests` of those that run have ended. Nothing: not known yet.
  std::optional<std::chrono::milliseconds> UntilEnded(int64_t requests) const;

 private:
  TimePoint last_{};
  bool saturated_ = false;
  double seconds_ = 0;  // saturated; this and the next fade alike
  double tokens_ = 0;   // made in them
  double tokens_a_request_ = 0;
  bool ended_ = false;  // one has: before, tokens_a_request_ is what was asked for
};

}  // namespace trireme
