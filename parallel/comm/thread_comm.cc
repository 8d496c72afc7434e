#include "parallel/comm/thread_comm.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "parallel/comm/peer_comm.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"
#include "runtime/base/thread_pool.h"

namespace trireme {

// Everything that is on its way, in one box a sender. A box has a slot for each send in flight.
class ThreadGroup::Mailboxes {
 public:
  explicit Mailboxes(int ranks) : boxes_(static_cast<size_t>(ranks)) {}

  int size() const { return static_cast<int>(boxes_.size()); }

  // The slot that holds it now.
  size_t Post(int from, Route to, std::span<const std::byte> data) {
    Box& box = boxes_[static_cast<size_t>(from)];
    const MutexLock lock(box.mutex);
    const auto free = std::find_if(box.letters.begin(), box.letters.end(),
                                   [](const Letter& letter) { return letter.order == kFree; });
    const auto slot = static_cast<size_t>(free - box.letters.begin());
    if (free == box.letters.end()) box.letters.emplace_back();
    box.letters[slot] = {++box.posted, to, data};
    return slot;
  }

  // Whether what was posted has been taken; the slot is then free.
  bool Taken(int from, size_t slot) {
    Box& box = boxes_[static_cast<size_t>(from)];
    const MutexLock lock(box.mutex);
    if (box.letters[slot].order != kTaken) return false;
    box.letters[slot].order = kFree;
    return true;
  }

  void Withdraw(int from) {
    Box& box = boxes_[static_cast<size_t>(from)];
    const MutexLock lock(box.mutex);
    for (Letter& letter : box.letters) letter.order = kFree;
  }

  std::optional<size_t> Waiting(Route from, int to) {
    Box& box = boxes_[static_cast<size_t>(from.peer)];
    const MutexLock lock(box.mutex);
    const Letter* const first = FirstMatch(box, from, to);
    return first == nullptr ? std::nullopt : std::optional(first->data.size());
  }

  // True when the transfer took place.
  absl::StatusOr<bool> Take(Route from, int to, std::span<std::byte> into) {
    Box& box = boxes_[static_cast<size_t>(from.peer)];
    const MutexLock lock(box.mutex);
    Letter* const first = FirstMatch(box, from, to);
    if (first == nullptr) return false;
    first->order = kTaken;
    if (first->data.size() != into.size()) {
      return absl::InternalError(
          absl::StrFormat("expected %d bytes, %d came: ranks disagree on the sequence of calls",
                          into.size(), first->data.size()));
    }
    if (!into.empty()) std::memcpy(into.data(), first->data.data(), into.size());
    return true;
  }

 private:
  static constexpr uint64_t kFree = 0;
  static constexpr uint64_t kTaken = std::numeric_limits<uint64_t>::max();

  struct Letter {
    uint64_t order = kFree;  // kTaken, or the how-manieth that its sender posted
    Route to;
    std::span<const std::byte> data;
  };
  struct Box {
    Mutex mutex;
    uint64_t posted ABSL_GUARDED_BY(mutex) = 0;
    std::vector<Letter> letters ABSL_GUARDED_BY(mutex);
  };

  static Letter* FirstMatch(Box& box, const Route& from, int to)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(box.mutex) {
    Letter* first = nullptr;
    for (Letter& letter : box.letters) {
      if (letter.order == kFree || letter.order == kTaken || letter.to.peer != to ||
          letter.to.context != from.context || letter.to.channel != from.channel) {
        continue;
      }
      if (first == nullptr || letter.order < first->order) first = &letter;
    }
    return first;
  }

  std::vector<Box> boxes_;
};

class ThreadGroup::ThreadEndpoint final : public Endpoint {
 public:
  ThreadEndpoint(Mailboxes& mailboxes, int rank)
      : mailboxes_(mailboxes), rank_(rank), may_spin_(mailboxes.size() <= AvailableCores()) {
    std::array<char, 256> name{};
    if (gethostname(name.data(), name.size() - 1) == 0) host_ = name.data();
  }

  int rank() const override { return rank_; }
  int size() const override { return mailboxes_.size(); }
  std::string HostOf(int) const override { return host_; }
  bool SharesMachine(int, int) const override { return true; }
  bool may_spin() const override { return may_spin_; }

  absl::StatusOr<int> StartSend(Route to, std::span<const std::byte> data) override {
    const int ticket = FreeTicket(State::kSending);
    in_flight_[static_cast<size_t>(ticket)].slot = mailboxes_.Post(rank_, to, data);
    return ticket;
  }

  absl::StatusOr<int> StartReceive(Route from, std::span<std::byte> data) override {
    const int ticket = FreeTicket(State::kReceiving);
    InFlight& receive = in_flight_[static_cast<size_t>(ticket)];
    receive.from = from;
    receive.into = data;
    return ticket;
  }

  absl::StatusOr<bool> Done(int ticket) override {
    InFlight& transfer = in_flight_[static_cast<size_t>(ticket)];
    if (transfer.state == State::kFree) return GivenUp();
    if (transfer.state == State::kSending) {
      if (!mailboxes_.Taken(rank_, transfer.slot)) return false;
    } else if (transfer.state == State::kReceiving) {
      Receive(transfer);
    }
    if (transfer.state == State::kReceiving) return false;
    transfer.state = State::kFree;
    TRI_RETURN_IF_ERROR(std::exchange(transfer.error, absl::OkStatus()));
    return true;
  }

  void Progress() override {
    for (InFlight& transfer : in_flight_) {
      if (transfer.state == State::kReceiving) Receive(transfer);
    }
  }

  void Abandon() override {
    mailboxes_.Withdraw(rank_);
    for (InFlight& transfer : in_flight_) transfer.state = State::kFree;
  }

  std::optional<size_t> Waiting(Route from) override { return mailboxes_.Waiting(from, rank_); }

 private:
  enum class State : uint8_t { kFree, kSending, kReceiving, kReceived };
  struct InFlight {
    State state = State::kFree;
    size_t slot = 0;  // of a send: in this rank's mailbox
    Route from;       // of a receive, as is `into`
    std::span<std::byte> into;
    absl::Status error;  // of a receive that has ended, for Done to tell
  };

  void Receive(InFlight& transfer) {
    const absl::StatusOr<bool> taken = mailboxes_.Take(transfer.from, rank_, transfer.into);
    if (taken.ok() && !*taken) return;
    transfer.state = State::kReceived;
    transfer.error = taken.status();
  }

  int FreeTicket(State state) {
    const auto free =
        std::find_if(in_flight_.begin(), in_flight_.end(),
                     [](const InFlight& transfer) { return transfer.state == State::kFree; });
    const auto ticket = static_cast<int>(free - in_flight_.begin());
    if (free == in_flight_.end()) in_flight_.emplace_back();
    in_flight_[static_cast<size_t>(ticket)].state = state;
    return ticket;
  }

  Mailboxes& mailboxes_;
  const int rank_;
  const bool may_spin_;
  std::string host_ = "unknown";
  std::vector<InFlight> in_flight_;  // by ticket; grows to the most that were in flight
};

ThreadGroup::ThreadGroup(int ranks) : mailboxes_(std::make_unique<Mailboxes>(ranks)) {
  TRI_CHECK(ranks >= 1);
  for (int rank = 0; rank < ranks; ++rank) {
    endpoints_.push_back(std::make_unique<ThreadEndpoint>(*mailboxes_, rank));
    rings_.push_back(std::make_unique<FlightRing>());
  }
}

ThreadGroup::~ThreadGroup() = default;

int ThreadGroup::size() const { return mailboxes_->size(); }

std::unique_ptr<Communicator> ThreadGroup::World(int rank) {
  return std::make_unique<PeerCommunicator>(*endpoints_[static_cast<size_t>(rank)],
                                            *rings_[static_cast<size_t>(rank)]);
}

const FlightRing& ThreadGroup::ring(int rank) const { return *rings_[static_cast<size_t>(rank)]; }

}  // namespace trireme
