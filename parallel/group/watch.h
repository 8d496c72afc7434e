// Who notices that a rank has stopped. Open MPI notices a dead process, never a stopped or a stuck
// one: its peers wait for ever. So every rank runs a thread, `watch`, that tells all others ten
// times a second that it lives, what step it is in, and whom it waits for; and that decides:
//   - a peer that has been silent for hang_timeout is stopped or unreachable;
//   - a step of this rank that is older than its deadline is stuck. Following "waits for" from rank
//   to rank ends at
//     the one that waits for nobody: that one is named (FindCulprit).
// A rank that decides tells the others at once, so that all name the same culprit.
//
// A rank that was itself held up (a loaded machine, a suspended one) cannot tell its own delay from
// its peers' silence: it forgives them as much as its own loop was late.
//
// The thread never calls MPI, takes no lock that another thread holds while it waits, and reads the
// step thread's ring.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/comm/flight_ring.h"
#include "parallel/group/group_socket.h"
#include "runtime/base/deadline.h"

namespace trireme {

struct WatchOptions {
  std::chrono::milliseconds heartbeat{100};
  std::chrono::milliseconds hang_timeout{1200};
  // For the first sign of a peer, which may begin to watch later than this rank.
  std::chrono::milliseconds first_beat_timeout{10'000};
  GroupSocketOptions socket{};
  // Read once a turn of the thread; tests substitute it.
  std::function<Deadline::Clock::time_point()> now = Deadline::Clock::now;
};

struct Verdict {
  enum class Cause { kSilent, kLateStep };
  Cause cause = Cause::kSilent;
  std::vector<int> culprits;  // world ranks
  int found_by = 0;           // the rank that decided
  // "rank 2 on host b has not been heard from for 1203 ms (stopped or unreachable), last seen after
  // tree sum "layer 3 attention" of step 17; rank 1 on host a waits for it in tree sum "layer 3
  // mlp" of step 17"
  std::string reason;
  std::string dump;  // this rank's ring (FlightRing::Dump)
};

// What a rank says of itself.
struct RankState {
  bool in_step = false;
  uint64_t step = 0;
  uint64_t progress = 0;  // FlightRing::progress
  int waiting_for = -1;   // world rank, or -1
};

// The rank that the others, directly or not, wait for: from `start` along waiting_for to a rank
// that waits for nobody. In a circle (ranks that disagree on what comes next) the one with the
// least step and progress.
int FindCulprit(std::span<const RankState> ranks, int start);

class Watch {
 public:
  // Called once, on the watch thread. It may end the process: by then all peers have been told, and
  // a pause of kTellPeers before that gives them time to report too (mpirun kills every rank when
  // the first one ends).
  using OnVerdict = std::function<void(const Verdict&)>;
  static constexpr std::chrono::milliseconds kTellPeers{250};

  // Collective over `world`. `ring` is this rank's, and must outlive the watch.
  static absl::StatusOr<std::unique_ptr<Watch>> Start(Communicator& world, const FlightRing& ring,
                                                      const WatchOptions& options,
                                                      OnVerdict on_verdict);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  // Stops the thread. Before an agreed end every rank disarms, then passes a barrier, then
  // destroys: nobody takes a leaving rank for a stopped one.
  ~Watch();

  // The step thread, around each step. An idle rank is in no step and has no deadline.
  void BeginStep(uint64_t step, Deadline deadline);
  void EndStep();

  // No verdict from here on; heartbeats go on.
  void Disarm();

  struct PeerHealth {
    int rank = 0;
    bool in_step = false;
    uint64_t step = 0;      // the last it began
    int64_t silent_ms = 0;  // since its last heartbeat
  };
  // The other ranks, for readiness. Any thread.
  std::vector<PeerHealth> Health() const;

 private:
  class Loop;
  explicit Watch(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace trireme
