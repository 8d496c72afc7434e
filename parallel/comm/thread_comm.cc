#include "parallel/comm/thread_comm.h"

#include <unistd.h>

#include <array>
#include <cstring>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "parallel/comm/peer_comm.h"
#include "runtime/base/mutex.h"
#include "runtime/base/thread_pool.h"

namespace trireme {

// A rank has at most one send in flight, so one box a rank holds everything that is on its way.
class ThreadGroup::Mailboxes {
 public:
  explicit Mailboxes(int ranks) : boxes_(static_cast<size_t>(ranks)) {}

  int size() const { return static_cast<int>(boxes_.size()); }

  void Post(int from, Route to, std::span<const std::byte> data) {
    Box& box = boxes_[static_cast<size_t>(from)];
    const MutexLock lock(box.mutex);
    box.full = true;
    box.to = to;
    box.data = data;
  }

  // Whether what was posted has been taken.
  bool Taken(int from) {
    Box& box = boxes_[static_cast<size_t>(from)];
    const MutexLock lock(box.mutex);
    return !box.full;
  }

  void Withdraw(int from) {
    Box& box = boxes_[static_cast<size_t>(from)];
    const MutexLock lock(box.mutex);
    box.full = false;
  }

  std::optional<size_t> Waiting(Route from, int to) {
    Box& box = boxes_[static_cast<size_t>(from.peer)];
    const MutexLock lock(box.mutex);
    return Matches(box, from, to) ? std::optional(box.data.size()) : std::nullopt;
  }

  // True when the transfer took place.
  absl::StatusOr<bool> Take(Route from, int to, std::span<std::byte> into) {
    Box& box = boxes_[static_cast<size_t>(from.peer)];
    const MutexLock lock(box.mutex);
    if (!Matches(box, from, to)) return false;
    box.full = false;
    if (box.data.size() != into.size()) {
      return absl::InternalError(
          absl::StrFormat("expected %d bytes, %d came: ranks disagree on the sequence of calls",
                          into.size(), box.data.size()));
    }
    if (!into.empty()) std::memcpy(into.data(), box.data.data(), into.size());
    return true;
  }

 private:
  struct Box {
    Mutex mutex;
    bool full ABSL_GUARDED_BY(mutex) = false;
    Route to ABSL_GUARDED_BY(mutex);
    std::span<const std::byte> data ABSL_GUARDED_BY(mutex);
  };

  static bool Matches(const Box& box, Route from, int to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(box.mutex) {
    return box.full && box.to.peer == to && box.to.context == from.context &&
           box.to.channel == from.channel;
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
  bool may_spin() const override { return may_spin_; }

  absl::Status StartSend(Route to, std::span<const std::byte> data) override {
    TRI_CHECK(!sending_);
    mailboxes_.Post(rank_, to, data);
    sending_ = true;
    return absl::OkStatus();
  }

  absl::Status StartReceive(Route from, std::span<std::byte> data) override {
    TRI_CHECK(!receiving_.has_value());
    receiving_ = Receiving{from, data};
    return absl::OkStatus();
  }

  absl::StatusOr<Progress> Advance() override {
    if (sending_ && mailboxes_.Taken(rank_)) sending_ = false;
    if (receiving_.has_value()) {
      const absl::StatusOr<bool> taken = mailboxes_.Take(receiving_->from, rank_, receiving_->data);
      if (!taken.ok()) return taken.status();
      if (*taken) receiving_.reset();
    }
    return Progress{.sent = !sending_, .received = !receiving_.has_value()};
  }

  void Abandon() override {
    if (sending_) mailboxes_.Withdraw(rank_);
    sending_ = false;
    receiving_.reset();
  }

  std::optional<size_t> Waiting(Route from) override { return mailboxes_.Waiting(from, rank_); }

 private:
  struct Receiving {
    Route from;
    std::span<std::byte> data;
  };

  Mailboxes& mailboxes_;
  const int rank_;
  const bool may_spin_;
  std::string host_ = "unknown";
  bool sending_ = false;
  std::optional<Receiving> receiving_;
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
