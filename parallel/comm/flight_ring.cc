#include "parallel/comm/flight_ring.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_format.h"
#include "runtime/base/deadline.h"

namespace trireme {
namespace {

double Milliseconds(int64_t ns) { return static_cast<double>(ns) / 1e6; }

}  // namespace

std::string_view VerbName(Verb verb) {
  switch (verb) {
    case Verb::kNone:
      return "nothing";
    case Verb::kTreeSum:
      return "tree sum";
    case Verb::kAllGather:
      return "all-gather";
    case Verb::kBarrier:
      return "barrier";
    case Verb::kBroadcast:
      return "broadcast";
    case Verb::kSend:
      return "send";
    case Verb::kReceive:
      return "receive";
    case Verb::kSendMessage:
      return "send message";
    case Verb::kReceiveMessage:
      return "receive message";
    case Verb::kSplit:
      return "split";
  }
  return "unknown";
}

void FlightRing::Begin(Verb verb, std::string_view what, uint64_t step, uint64_t bytes) {
  const uint64_t sequence = begun_.load(std::memory_order_relaxed) + 1;
  Slot& entry = slot(sequence);
  entry.sequence.store(0, std::memory_order_release);
  entry.step.store(step, std::memory_order_release);
  entry.bytes.store(bytes, std::memory_order_release);
  entry.started_ns.store(MonotonicNs(), std::memory_order_release);
  entry.ended_ns.store(0, std::memory_order_release);
  entry.peer.store(-1, std::memory_order_release);
  entry.verb.store(verb, std::memory_order_release);
  entry.state.store(State::kStarted, std::memory_order_release);
  for (size_t word = 0; word < kWhatWords; ++word) {
    uint64_t packed = 0;
    const size_t begin = word * 8;
    if (begin < what.size()) {
      std::memcpy(&packed, what.data() + begin, std::min<size_t>(8, what.size() - begin));
    }
    entry.what[word].store(packed, std::memory_order_release);
  }
  entry.sequence.store(sequence, std::memory_order_release);
  begun_.store(sequence, std::memory_order_release);
  progress_.store(progress_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void FlightRing::WaitFor(int world_rank) {
  slot(begun_.load(std::memory_order_relaxed)).peer.store(world_rank, std::memory_order_relaxed);
}

void FlightRing::End(bool ok) {
  Slot& entry = slot(begun_.load(std::memory_order_relaxed));
  entry.ended_ns.store(MonotonicNs(), std::memory_order_relaxed);
  entry.state.store(ok ? State::kFinished : State::kFailed, std::memory_order_release);
  progress_.store(progress_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

bool FlightRing::Read(uint64_t sequence, Record& record) const {
  const Slot& entry = slots_[sequence % kRecords];
  if (entry.sequence.load(std::memory_order_acquire) != sequence) return false;
  record.sequence = sequence;
  record.step = entry.step.load(std::memory_order_acquire);
  record.bytes = entry.bytes.load(std::memory_order_acquire);
  record.started_ns = entry.started_ns.load(std::memory_order_acquire);
  record.state = entry.state.load(std::memory_order_acquire);
  record.ended_ns = entry.ended_ns.load(std::memory_order_acquire);
  record.peer = entry.peer.load(std::memory_order_acquire);
  record.verb = entry.verb.load(std::memory_order_acquire);
  std::array<char, kWhatBytes> text{};
  for (size_t word = 0; word < kWhatWords; ++word) {
    const uint64_t packed = entry.what[word].load(std::memory_order_acquire);
    std::memcpy(text.data() + word * 8, &packed, 8);
  }
  record.what.assign(text.data(), strnlen(text.data(), text.size()));
  // The acquire loads above keep this one after them: an unchanged sequence means they saw one
  // record.
  return entry.sequence.load(std::memory_order_relaxed) == sequence;
}

FlightRing::Record FlightRing::Latest() const {
  Record record;
  // The writer can lap a reader only by 256 operations during one read; a few attempts always
  // suffice.
  for (int attempt = 0; attempt < 8; ++attempt) {
    const uint64_t begun = begun_.load(std::memory_order_acquire);
    if (begun == 0) return Record{};
    if (Read(begun, record)) return record;
  }
  return Record{};
}

std::vector<FlightRing::Record> FlightRing::Snapshot(size_t most) const {
  std::vector<Record> records;
  const uint64_t newest = begun_.load(std::memory_order_acquire);
  const uint64_t count = std::min<uint64_t>({most, kRecords, newest});
  for (uint64_t back = 0; back < count; ++back) {
    Record record;
    if (Read(newest - back, record)) records.push_back(std::move(record));
  }
  return records;
}

std::string FlightRing::Dump(int rank, absl::FunctionRef<std::string(int)> host_of,
                             size_t most) const {
  const std::vector<Record> records = Snapshot(most);
  const int64_t now = MonotonicNs();
  std::string text = absl::StrFormat("last %d operations of rank %d on host %s:\n", records.size(),
                                     rank, host_of(rank));
  for (const Record& record : records) {
    absl::StrAppendFormat(&text, "  #%d step %d %s \"%s\" %d bytes", record.sequence, record.step,
                          VerbName(record.verb), record.what, record.bytes);
    if (record.state == State::kStarted) {
      if (record.peer >= 0) {
        absl::StrAppendFormat(&text, " waits for rank %d on host %s", record.peer,
                              host_of(record.peer));
      }
      absl::StrAppendFormat(&text, " since %.1f ms\n", Milliseconds(now - record.started_ns));
    } else {
      absl::StrAppendFormat(&text, " %s after %.3f ms, %.1f ms ago\n",
                            record.state == State::kFinished ? "finished" : "failed",
                            Milliseconds(record.ended_ns - record.started_ns),
                            Milliseconds(now - record.ended_ns));
    }
  }
  return text;
}

}  // namespace trireme
