// The worker groups that are attached to this coordinator, and how each is doing. A value without
// threads or clock: time is passed in, so that its rules are tested by calling them.
//
// An attachment is one incarnation of a group. Numbers rise and are never used twice, so whatever
// an older incarnation still says can be told apart and dropped.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/coordinator/mailbox.h"
#include "launcher/load/queue_estimate.h"
#include "runtime/base/deadline.h"
#include "trireme/v1/group.pb.h"

namespace trireme {

using TimePoint = Deadline::Clock::time_point;

// To a group's leader: a message, or (close set) the end of the stream with this status.
struct LinkItem {
  v1::CoordinatorMessage message;
  bool close = false;
  absl::Status status;
};
using LinkMailbox = Mailbox<LinkItem>;

struct LivenessOptions {
  // Heartbeats come four times a second; silence for this long is a lost group.
  std::chrono::milliseconds heartbeat_timeout{2'000};
  // Requests are running and no step completes: not ready after the first, lost after the second.
  // The group's own step deadline is shorter and names the rank, so the second is for a leader that
  // no longer watches itself.
  std::chrono::milliseconds stall_not_ready{5'000};
  std::chrono::milliseconds stall_lost{60'000};
};

// One group at one instant, for policies and for people.
struct GroupSnapshot {
  std::string name;
  uint64_t incarnation = 0;
  bool ready = false;
  int64_t assigned = 0;  // requests the coordinator has given it and not seen end
  int64_t capacity = 0;  // of those: sequences in a step and the queue behind them
  int64_t max_sequences = 0;
  int32_t ranks = 0;
  uint64_t steps = 0;
  int64_t running = 0;
  int64_t waiting = 0;
  v1::EngineCounters counters;
  std::vector<v1::HotExpert> hottest_experts;  // largest share first
  QueueEstimate queue;
};

class GroupRegistry {
 public:
  GroupRegistry(const LivenessOptions& options, std::string tokenizer_hash)
      : options_(options), tokenizer_hash_(std::move(tokenizer_hash)) {}

  // The new incarnation. INVALID_ARGUMENT for a Hello that makes no sense, FAILED_PRECONDITION for
  // another model or tokenizer than is served, ALREADY_EXISTS while a group of that name is
  // attached.
  absl::StatusOr<uint64_t> Attach(const v1::Hello& hello, std::shared_ptr<LinkMailbox> link,
                                  TimePoint now);
  // False if that incarnation is not attached.
  bool Detach(uint64_t incarnation);
  bool attached(uint64_t incarnation) const { return groups_.contains(incarnation); }
  bool empty() const { return groups_.empty(); }

  void Heartbeat(uint64_t incarnation, const v1::Heartbeat& heartbeat, TimePoint now);

  // Incarnations to give up, each with the reason.
  std::vector<std::pair<uint64_t, absl::Status>> Overdue(TimePoint now) const;

  // In order of incarnation.
  std::vector<GroupSnapshot> Snapshots(TimePoint now) const;
  bool AnyReady(TimePoint now) const;

  // The first attached group's Hello says what is served; nullptr while none is attached.
  const v1::Hello* served() const;

  // The following take an attached incarnation.
  const std::shared_ptr<LinkMailbox>& link(uint64_t incarnation) const;
  const std::string& name(uint64_t incarnation) const;
  void AddAssigned(uint64_t incarnation, int64_t change, TimePoint now);
  // Seconds of its ranks that a request which has run there all along has used, as far as those
  // that run share them evenly: differences of it are what a request has used in between.
  double DeviceSeconds(uint64_t incarnation, TimePoint now);
  // ... and what one uses now in a second.
  double DeviceShare(uint64_t incarnation) const;
  // For the estimate of its queue: a request of at most so many tokens is given to it; it made a
  // token; a request that had begun ended after so many.
  void OnAccept(uint64_t incarnation, int64_t max_tokens);
  void OnToken(uint64_t incarnation, TimePoint now);
  void OnEnd(uint64_t incarnation, int64_t tokens);

 private:
  struct Group {
    v1::Hello hello;
    std::shared_ptr<LinkMailbox> link;
    TimePoint last_heartbeat;
    TimePoint last_progress;  // a step completed, or nothing was running
    v1::Heartbeat latest;
    int64_t assigned = 0;
    QueueEstimate queue;
    double device_seconds = 0;  // up to:
    TimePoint device_seconds_at;
  };

  Group& Attached(uint64_t incarnation);
  static double ShareOf(const Group& group);
  bool Ready(const Group& group, TimePoint now) const;

  const LivenessOptions options_;
  const std::string tokenizer_hash_;
  std::map<uint64_t, Group> groups_;
  uint64_t last_incarnation_ = 0;
};

}  // namespace trireme
