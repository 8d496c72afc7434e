#include "parallel/group/watch.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/log.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using Clock = Deadline::Clock;
using Milliseconds = std::chrono::milliseconds;

int64_t WholeMs(Clock::duration duration) {
  return std::chrono::duration_cast<Milliseconds>(duration).count();
}

int64_t TicksNs(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

// A heartbeat, as it travels.
struct Beat {
  uint64_t progress = 0;
  uint64_t step = 0;
  uint64_t operation_step = 0;  // of the operation below: with several steps in flight, another one
  int32_t waiting_for = -1;
  int32_t culprit = -1;    // of the sender's verdict; -1: none
  uint32_t silent_ms = 0;  // of the culprit; 0: its step is late
  uint8_t in_step = 0;
  uint8_t verb = 0;  // of the operation the sender is in, or was in last
  uint8_t in_operation = 0;
  uint8_t unused = 0;
  std::array<char, FlightRing::kWhatBytes> what{};
};
static_assert(sizeof(Beat) == 40 + FlightRing::kWhatBytes);

// What is known of a peer.
struct Peer {
  Beat beat;
  bool heard = false;
  Clock::time_point last_heard;
};

std::string WhatOf(const Beat& beat) {
  return std::string(beat.what.data(), strnlen(beat.what.data(), beat.what.size()));
}

// The operation a rank is or was in: `in tree sum "layer 3 attention" of step 17`.
std::string Doing(const Beat& beat) {
  if (beat.what[0] == '\0') return absl::StrFormat("before any operation, step %d", beat.step);
  return absl::StrFormat("%s %s \"%s\" of step %d", beat.in_operation != 0 ? "in" : "after",
                         VerbName(static_cast<Verb>(beat.verb)), WhatOf(beat), beat.operation_step);
}

}  // namespace

int FindCulprit(std::span<const RankState> ranks, int start) {
  std::vector<int> path;
  int rank = start;
  while (std::find(path.begin(), path.end(), rank) == path.end()) {
    path.push_back(rank);
    const int next = ranks[static_cast<size_t>(rank)].waiting_for;
    if (next < 0 || next >= static_cast<int>(ranks.size())) return rank;
    rank = next;
  }
  return *std::min_element(
      std::find(path.begin(), path.end(), rank), path.end(), [&](int a, int b) {
        const RankState& left = ranks[static_cast<size_t>(a)];
        const RankState& right = ranks[static_cast<size_t>(b)];
        return std::tie(left.step, left.progress, a) < std::tie(right.step, right.progress, b);
      });
}

class Watch::Loop {
 public:
  Loop(std::unique_ptr<GroupSocket> socket, int wake_fd, const FlightRing& ring,
       const WatchOptions& options, OnVerdict on_verdict)
      : socket_(std::move(socket)),
        wake_fd_(wake_fd),
        ring_(ring),
        options_(options),
        on_verdict_(std::move(on_verdict)),
        peers_(static_cast<size_t>(socket_->size())) {
    const auto now = options_.now();
    for (Peer& peer : peers_) peer.last_heard = now;
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  ~Loop() {
    thread_.request_stop();
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t woken = write(wake_fd_, &one, sizeof(one));
    thread_.join();
    close(wake_fd_);
  }

  void BeginStep(uint64_t step, Deadline deadline) {
    step_.store(step, std::memory_order_relaxed);
    step_deadline_ns_.store(TicksNs(deadline.when()), std::memory_order_release);
  }
  void EndStep() { step_deadline_ns_.store(kIdle, std::memory_order_release); }
  void Disarm() { armed_.store(false, std::memory_order_release); }

  std::vector<PeerHealth> Health() const {
    const MutexLock lock(mutex_);
    const auto now = options_.now();
    std::vector<PeerHealth> health;
    for (int rank = 0; rank < socket_->size(); ++rank) {
      if (rank == socket_->rank()) continue;
      const Peer& peer = peers_[static_cast<size_t>(rank)];
      health.push_back({.rank = rank,
                        .in_step = peer.beat.in_step != 0,
                        .step = peer.beat.step,
                        .silent_ms = WholeMs(now - peer.last_heard)});
    }
    return health;
  }

 private:
  static constexpr int64_t kIdle = 0;  // no deadline lies at the clock's epoch

  // A turn has one `now`: a rank that is held up in the middle of it would otherwise find its peers
  // silent before it can find itself late. The next turn forgives them and hears what they said.
  void Run(const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "watch");
    auto last = options_.now();
    while (!stop.stop_requested()) {
      const auto now = options_.now();
      const auto late = now - last - options_.heartbeat;
      last = now;
      Listen(now, late);
      SendBeats();
      if (armed_.load(std::memory_order_acquire)) Decide(now);
      pollfd wake{.fd = wake_fd_, .events = POLLIN, .revents = 0};
      poll(&wake, 1, static_cast<int>(options_.heartbeat.count()));
    }
  }

  // Forgives this rank's own delay, then reads every heartbeat that waits.
  void Listen(Clock::time_point now, Clock::duration late) {
    const MutexLock lock(mutex_);
    if (late > options_.heartbeat / 2) {
      for (Peer& peer : peers_) peer.last_heard = std::min(now, peer.last_heard + late);
    }
    Beat beat;
    while (const auto received = socket_->Receive(std::as_writable_bytes(std::span(&beat, 1)))) {
      if (beat.verb > static_cast<uint8_t>(Verb::kSplit)) beat.verb = 0;
      Peer& peer = peers_[static_cast<size_t>(received->from)];
      peer.beat = beat;
      peer.heard = true;
      peer.last_heard = now;
    }
  }

  Beat MyBeat() const {
    const FlightRing::Record latest = ring_.Latest();
    Beat beat = verdict_beat_;
    beat.progress = ring_.progress();
    beat.step = step_.load(std::memory_order_relaxed);
    beat.in_step = step_deadline_ns_.load(std::memory_order_acquire) != kIdle ? 1 : 0;
    beat.verb = static_cast<uint8_t>(latest.verb);
    beat.operation_step = latest.step;
    beat.in_operation = latest.state == FlightRing::State::kStarted ? 1 : 0;
    if (beat.in_operation != 0) beat.waiting_for = latest.peer;
    std::copy_n(latest.what.begin(), std::min(latest.what.size(), beat.what.size()),
                beat.what.begin());
    return beat;
  }

  void SendBeats() const {
    const Beat beat = MyBeat();
    for (int rank = 0; rank < socket_->size(); ++rank) {
      if (rank != socket_->rank()) socket_->Send(rank, std::as_bytes(std::span(&beat, 1)));
    }
  }

  void Decide(Clock::time_point now) {
    Verdict verdict;
    {
      const MutexLock lock(mutex_);
      if (!HeardVerdict(verdict) && !Silent(now, verdict) && !LateStep(now, verdict)) return;
    }
    armed_.store(false, std::memory_order_release);
    SendBeats();
    verdict.dump = ring_.Dump(socket_->rank(), [this](int rank) { return socket_->HostOf(rank); });
    on_verdict_(verdict);
  }

  // Another rank has decided.
  bool HeardVerdict(Verdict& verdict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (int rank = 0; rank < socket_->size(); ++rank) {
      const Beat& beat = peers_[static_cast<size_t>(rank)].beat;
      if (beat.culprit < 0 || beat.culprit >= socket_->size()) continue;
      verdict.cause = beat.silent_ms > 0 ? Verdict::Cause::kSilent : Verdict::Cause::kLateStep;
      verdict.culprits = {beat.culprit};
      verdict.found_by = rank;
      const std::string fault =
          beat.silent_ms > 0
              ? absl::StrFormat("not heard from for %d ms (stopped or unreachable)", beat.silent_ms)
              : std::string("past its step's deadline");
      verdict.reason =
          absl::StrFormat("%s was found by rank %d on host %s to be %s",
                          beat.culprit == socket_->rank() ? "this rank, " + Name(beat.culprit) + ","
                                                          : Name(beat.culprit),
                          rank, socket_->HostOf(rank), fault);
      verdict.reason += MissedBy(beat.culprit);
      verdict_beat_.culprit = beat.culprit;
      verdict_beat_.silent_ms = beat.silent_ms;
      return true;
    }
    return false;
  }

  bool Silent(Clock::time_point now, Verdict& verdict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::vector<std::string> named;
    for (int rank = 0; rank < socket_->size(); ++rank) {
      if (rank == socket_->rank()) continue;
      const Peer& peer = peers_[static_cast<size_t>(rank)];
      const auto silent = now - peer.last_heard;
      if (silent <= (peer.heard ? options_.hang_timeout : options_.first_beat_timeout)) continue;
      verdict.culprits.push_back(rank);
      named.push_back(absl::StrFormat(
          "%s has not been heard from for %d ms (stopped or unreachable), last seen %s", Name(rank),
          WholeMs(silent), Doing(peer.beat)));
      verdict_beat_.culprit = verdict.culprits.front();
      verdict_beat_.silent_ms = std::max(
          verdict_beat_.silent_ms, static_cast<uint32_t>(std::max<int64_t>(1, WholeMs(silent))));
    }
    if (named.empty()) return false;
    verdict.cause = Verdict::Cause::kSilent;
    verdict.found_by = socket_->rank();
    verdict.reason = absl::StrJoin(named, "; ");
    for (const int culprit : verdict.culprits) verdict.reason += MissedBy(culprit);
    if (socket_->size() > 2 && static_cast<int>(named.size()) == socket_->size() - 1) {
      verdict.reason += "; no other rank is heard: this rank's own network may be cut";
    }
    return true;
  }

  bool LateStep(Clock::time_point when, Verdict& verdict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const int64_t deadline = step_deadline_ns_.load(std::memory_order_acquire);
    const int64_t now = TicksNs(when);
    if (deadline == kIdle || now < deadline) return false;
    Beat mine = MyBeat();
    std::vector<RankState> states;
    for (int rank = 0; rank < socket_->size(); ++rank) {
      const Beat& beat = rank == socket_->rank() ? mine : peers_[static_cast<size_t>(rank)].beat;
      states.push_back({.in_step = beat.in_step != 0,
                        .step = beat.step,
                        .progress = beat.progress,
                        .waiting_for = beat.waiting_for});
    }
    const int culprit = FindCulprit(states, socket_->rank());
    const Beat& theirs =
        culprit == socket_->rank() ? mine : peers_[static_cast<size_t>(culprit)].beat;
    verdict.cause = Verdict::Cause::kLateStep;
    verdict.culprits = {culprit};
    verdict.found_by = socket_->rank();
    verdict.reason = absl::StrFormat(
        "step %d is %d ms past its deadline on %s; %s holds it up: %s %s", mine.step,
        (now - deadline) / 1'000'000, Name(socket_->rank()), Name(culprit),
        theirs.in_step != 0 ? "it is" : "it is in no step,", Doing(theirs));
    verdict.reason += MissedBy(culprit);
    verdict_beat_.culprit = culprit;
    verdict_beat_.silent_ms = 0;
    return true;
  }

  // The operation that a rank is missing from: of the first of those that wait for it.
  std::string MissedBy(int culprit) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Beat mine = MyBeat();
    for (int rank = 0; rank < socket_->size(); ++rank) {
      const Beat& beat = rank == socket_->rank() ? mine : peers_[static_cast<size_t>(rank)].beat;
      if (rank == culprit || beat.in_operation == 0 || beat.waiting_for != culprit) continue;
      return absl::StrFormat("; %s waits for it %s", Name(rank), Doing(beat));
    }
    return "";
  }

  std::string Name(int rank) const {
    return absl::StrFormat("rank %d on host %s", rank, socket_->HostOf(rank));
  }

  const std::unique_ptr<GroupSocket> socket_;
  const int wake_fd_;
  const FlightRing& ring_;
  const WatchOptions options_;
  const OnVerdict on_verdict_;

  std::atomic<bool> armed_{true};
  std::atomic<uint64_t> step_{0};
  std::atomic<int64_t> step_deadline_ns_{kIdle};
  Beat verdict_beat_;  // the watch thread's: what to tell the others once it has decided

  mutable Mutex mutex_;
  std::vector<Peer> peers_ ABSL_GUARDED_BY(mutex_);

  std::jthread thread_;  // last: it uses everything above
};

Watch::Watch(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
Watch::~Watch() = default;

absl::StatusOr<std::unique_ptr<Watch>> Watch::Start(Communicator& world, const FlightRing& ring,
                                                    const WatchOptions& options,
                                                    OnVerdict on_verdict) {
  TRI_ASSIGN_OR_RETURN(auto socket, GroupSocket::Open(world, options.socket, "watch"));
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    return absl::ResourceExhaustedError(absl::StrFormat("eventfd: %s", std::strerror(errno)));
  }
  if (world.size() > 1) {
    LogInfo("watching the group", {{"ranks", world.size()},
                                   {"address", socket->address().ToString()},
                                   {"hang_timeout_ms", options.hang_timeout.count()}});
  }
  return absl::WrapUnique(new Watch(
      std::make_unique<Loop>(std::move(socket), wake_fd, ring, options, std::move(on_verdict))));
}

void Watch::BeginStep(uint64_t step, Deadline deadline) { loop_->BeginStep(step, deadline); }
void Watch::EndStep() { loop_->EndStep(); }
void Watch::Disarm() { loop_->Disarm(); }
std::vector<Watch::PeerHealth> Watch::Health() const { return loop_->Health(); }

}  // namespace trireme
