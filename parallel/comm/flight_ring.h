// The last 256 operations of this rank's communicators, always recorded: what the rank was doing
// when something went wrong. A hung group is explained by comparing the rings of its ranks (DESIGN:
// failure).
//
// One writer, the `step` thread, which never locks or allocates; any thread may read. A record that
// is overwritten while it is read is left out, so what a reader gets is whole.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"

namespace trireme {

enum class Verb : uint8_t {
  kNone,
  kTreeSum,
  kAllGather,
  kBarrier,
  kBroadcast,
  kSend,
  kReceive,
  kSendMessage,
  kReceiveMessage,
  kSplit,
};
std::string_view VerbName(Verb verb);  // "tree sum"

class FlightRing {
 public:
  static constexpr size_t kRecords = 256;
  static constexpr size_t kWhatBytes = 48;  // longer names are cut

  enum class State : uint8_t { kStarted, kFinished, kFailed };

  struct Record {
    uint64_t sequence = 0;  // from 1; 0: nothing recorded yet
    uint64_t step = 0;
    Verb verb = Verb::kNone;
    State state = State::kFinished;
    std::string what;
    int peer = -1;           // the world rank waited for last, or -1
    uint64_t bytes = 0;      // of this rank's buffer
    int64_t started_ns = 0;  // on Deadline::Clock
    int64_t ended_ns = 0;    // 0 while started
  };

  FlightRing() = default;
  FlightRing(const FlightRing&) = delete;
  FlightRing& operator=(const FlightRing&) = delete;

  // The writer's side: Begin, any number of WaitFor, End.
  void Begin(Verb verb, std::string_view what, uint64_t step, uint64_t bytes);
  void WaitFor(int world_rank);
  void End(bool ok);

  // Rises with every beginning and every end: a rank whose progress stands still does not
  // communicate.
  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }
  // The operation in flight, or the last one.
  Record Latest() const;
  // The last `most` operations, newest first.
  std::vector<Record> Snapshot(size_t most) const;
  // The same as text, one operation a line. `host_of` names the host of a world rank.
  std::string Dump(int rank, absl::FunctionRef<std::string(int)> host_of, size_t most = 32) const;

 private:
  static constexpr size_t kWhatWords = kWhatBytes / 8;

  // Fields are atomics only so that a racing read is defined; `sequence` is 0 while they change.
  struct alignas(64) Slot {
    std::atomic<uint64_t> sequence{0};
    std::atomic<uint64_t> step{0};
    std::atomic<uint64_t> bytes{0};
    std::atomic<int64_t> started_ns{0};
    std::atomic<int64_t> ended_ns{0};
    std::atomic<int> peer{-1};
    std::atomic<Verb> verb{Verb::kNone};
    std::atomic<State> state{State::kFinished};
    std::array<std::atomic<uint64_t>, kWhatWords> what{};
  };

  Slot& slot(uint64_t sequence) { return slots_[sequence % kRecords]; }
  // False when the record was overwritten meanwhile.
  bool Read(uint64_t sequence, Record& record) const;

  std::array<Slot, kRecords> slots_;
  std::atomic<uint64_t> begun_{0};
  std::atomic<uint64_t> progress_{0};
};

}  // namespace trireme
