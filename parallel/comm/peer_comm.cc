#include "parallel/comm/peer_comm.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_format.h"
#include "parallel/comm/polite_wait.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// What a sum or gather receives before it is added or spread out: a quarter MiB stays in a core's
// own cache.
constexpr size_t kScratchBytes = size_t{256} << 10;
// For the verbs that take no deadline, outside any step.
constexpr int64_t kDefaultTimeoutMs = 60'000;

std::span<const std::byte> BytesOf(std::span<const float> values) { return std::as_bytes(values); }

std::vector<int> Iota(int count) {
  std::vector<int> ranks(static_cast<size_t>(count));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

double Milliseconds(std::chrono::nanoseconds duration) {
  return static_cast<double>(duration.count()) / 1e6;
}

// What one rank says when a communicator is split.
struct SplitVote {
  int32_t color = 0;
  int32_t key = 0;
  int32_t contexts = 0;
};

}  // namespace

PeerCommunicator::PeerCommunicator(Endpoint& endpoint, FlightRing& ring)
    : PeerCommunicator(endpoint, ring, Membership{Iota(endpoint.size()), endpoint.rank(), 0}) {}

PeerCommunicator::PeerCommunicator(Endpoint& endpoint, FlightRing& ring, Membership membership)
    : endpoint_(endpoint),
      ring_(ring),
      world_ranks_(std::move(membership.world_ranks)),
      rank_(membership.rank),
      context_(membership.context) {
  if (size() > 1) scratch_ = Tensor(DType::kF32, Shape{int64_t{kScratchBytes / sizeof(float)}});
}

void PeerCommunicator::SetStep(uint64_t step, Deadline deadline) {
  step_ = step;
  step_deadline_ = deadline;
}

Deadline PeerCommunicator::StepDeadline() const {
  return step_deadline_.has_value() ? *step_deadline_ : Deadline::AfterMs(kDefaultTimeoutMs);
}

Route PeerCommunicator::RouteTo(int rank, Channel channel) const {
  return {world_ranks_[static_cast<size_t>(rank)], context_, channel};
}

std::string PeerCommunicator::HostOf(int rank) const {
  return endpoint_.HostOf(world_ranks_[static_cast<size_t>(rank)]);
}

std::string PeerCommunicator::Describe(const Operation& operation) const {
  return absl::StrFormat("%s \"%s\" of step %d", VerbName(operation.verb), operation.what,
                         operation.step);
}

absl::Status PeerCommunicator::Late(const Operation& operation, int rank) const {
  return absl::DeadlineExceededError(
      absl::StrFormat("%s: rank %d on host %s did not answer within %.0f ms", Describe(operation),
                      world_ranks_[static_cast<size_t>(rank)], HostOf(rank),
                      Milliseconds(Deadline::Clock::now() - operation.started)));
}

absl::Status PeerCommunicator::Broken(const Operation& operation, int rank,
                                      const absl::Status& cause) const {
  return absl::Status(
      cause.code(),
      absl::StrFormat("%s: with rank %d on host %s: %s", Describe(operation),
                      world_ranks_[static_cast<size_t>(rank)], HostOf(rank), cause.message()));
}

absl::Status PeerCommunicator::Run(const Operation& operation, size_t bytes, Body body) {
  if (!status_.ok()) return status_;
  ring_.Begin(operation.verb, operation.what, operation.step, bytes);
  absl::Status status = body();
  ring_.End(status.ok());
  if (!status.ok()) status_ = status;
  return status;
}

PeerCommunicator::Operation PeerCommunicator::Of(Verb verb, std::string_view what,
                                                 Deadline deadline, Channel channel) const {
  return {.verb = verb, .what = what, .deadline = deadline, .channel = channel, .step = step_};
}

absl::Status PeerCommunicator::Transfer(const Operation& operation, Outgoing out, Incoming in) {
  const int named = in.from >= 0 ? in.from : out.to;
  ring_.WaitFor(world_ranks_[static_cast<size_t>(named)]);
  absl::StatusOr<int> receive = -1;
  absl::StatusOr<int> send = -1;
  if (in.from >= 0) {
    receive = endpoint_.StartReceive(RouteTo(in.from, operation.channel), in.data);
  }
  if (receive.ok() && out.to >= 0) {
    send = endpoint_.StartSend(RouteTo(out.to, operation.channel), out.data);
  }
  if (!receive.ok() || !send.ok()) {
    endpoint_.Abandon();
    return Broken(operation, named, receive.ok() ? send.status() : receive.status());
  }
  absl::StatusOr<bool> received = *receive < 0;
  absl::StatusOr<bool> sent = *send < 0;
  PoliteWait wait(endpoint_.may_spin(), operation.deadline);
  while (true) {
    if (!*received) received = endpoint_.Done(*receive);
    if (received.ok() && !*sent) sent = endpoint_.Done(*send);
    if (!received.ok() || !sent.ok()) {
      endpoint_.Abandon();
      return Broken(operation, named, received.ok() ? sent.status() : received.status());
    }
    if (*sent && *received) return absl::OkStatus();
    if (!wait.Pause()) {
      endpoint_.Abandon();
      return Late(operation, *received ? out.to : in.from);
    }
  }
}

absl::StatusOr<Posted> PeerCommunicator::Post(Posted::Kind kind, int peer, size_t bytes,
                                              absl::FunctionRef<absl::StatusOr<int>()> start) {
  TRI_CHECK(peer >= 0 && peer < size() && peer != rank_);
  TRI_CHECK_LE(bytes, Endpoint::kMaxTransfer);
  TRI_RETURN_IF_ERROR(status_);
  const absl::StatusOr<int> ticket = start();
  if (!ticket.ok()) {
    endpoint_.Abandon();
    const Verb verb = kind == Posted::Kind::kReceive ? Verb::kReceive : Verb::kSend;
    status_ = Broken(Of(verb, "to post it", StepDeadline()), peer, ticket.status());
    return status_;
  }
  return Posted{.kind = kind, .ticket = *ticket, .peer = peer, .bytes = bytes, .step = step_};
}

absl::StatusOr<Posted> PeerCommunicator::PostSend(int to, std::span<const std::byte> data) {
  return Post(Posted::Kind::kSend, to, data.size(),
              [&] { return endpoint_.StartSend(RouteTo(to, Channel::kPointToPoint), data); });
}

absl::StatusOr<Posted> PeerCommunicator::PostRecv(int from, std::span<std::byte> data) {
  return Post(Posted::Kind::kReceive, from, data.size(),
              [&] { return endpoint_.StartReceive(RouteTo(from, Channel::kPointToPoint), data); });
}

absl::StatusOr<Posted> PeerCommunicator::PostMessage(int to, std::span<const std::byte> data) {
  return Post(Posted::Kind::kMessage, to, data.size(),
              [&] { return endpoint_.StartSend(RouteTo(to, Channel::kMessage), data); });
}

absl::StatusOr<bool> PeerCommunicator::Poll(Posted& posted) {
  if (posted.kind == Posted::Kind::kNothing) return true;
  TRI_RETURN_IF_ERROR(status_);
  const absl::StatusOr<bool> done = endpoint_.Done(posted.ticket);
  if (done.ok()) {
    if (*done) posted = {};
    return done;
  }
  endpoint_.Abandon();
  const Verb verb = posted.kind == Posted::Kind::kReceive ? Verb::kReceive : Verb::kSend;
  Operation operation = Of(verb, "posted before", StepDeadline());
  operation.step = posted.step;
  status_ = Broken(operation, posted.peer, done.status());
  return status_;
}

absl::Status PeerCommunicator::Finish(Posted& posted, Deadline deadline, std::string_view what) {
  if (posted.kind == Posted::Kind::kNothing) return absl::OkStatus();
  const Posted transfer = std::exchange(posted, {});
  Operation operation = Of(transfer.kind == Posted::Kind::kReceive   ? Verb::kReceive
                           : transfer.kind == Posted::Kind::kMessage ? Verb::kSendMessage
                                                                     : Verb::kSend,
                           what, deadline);
  operation.step = transfer.step;
  return Run(operation, transfer.bytes, [&]() -> absl::Status {
    ring_.WaitFor(world_ranks_[static_cast<size_t>(transfer.peer)]);
    PoliteWait wait(endpoint_.may_spin(), deadline);
    while (true) {
      const absl::StatusOr<bool> done = endpoint_.Done(transfer.ticket);
      if (done.ok() && *done) return absl::OkStatus();
      if (done.ok() && wait.Pause()) continue;
      endpoint_.Abandon();
      return done.ok() ? Late(operation, transfer.peer)
                       : Broken(operation, transfer.peer, done.status());
    }
  });
}

void PeerCommunicator::TreeSum(TensorView data, std::string_view what) {
  TRI_CHECK(std::has_single_bit(static_cast<unsigned>(size())))
      << "a tree sum needs a power of two ranks; this communicator has " << size();
  TRI_CHECK(data.dtype == DType::kF32 && data.contiguous());
  if (size() == 1) {
    endpoint_.Progress();
    return;
  }
  const std::span<float> values = data.span<float>();
  const Operation operation = Of(Verb::kTreeSum, what, StepDeadline());
  // The failure is kept in status_, which the stage reads once a step.
  Run(operation, values.size_bytes(), [&]() -> absl::Status {
    constexpr size_t kChunk = kScratchBytes / sizeof(float);
    for (size_t begin = 0; begin < values.size(); begin += kChunk) {
      TRI_RETURN_IF_ERROR(
          TreeSumChunk(operation, values.subspan(begin, std::min(kChunk, values.size() - begin))));
    }
    return absl::OkStatus();
  }).IgnoreError();
}

// INV-COMM-3: at the level of mask, ranks that differ below it hold the same bits; the sum of a
// pair is written lower + upper on both, so it holds above it too.
absl::Status PeerCommunicator::TreeSumChunk(const Operation& operation, std::span<float> values) {
  const auto theirs = scratch_.view().span<float>().first(values.size());
  if (board_ != nullptr) TRI_RETURN_IF_ERROR(SumOnBoard(operation, values));
  for (int mask = board_ == nullptr ? 1 : board_->ranks(); mask < size(); mask <<= 1) {
    const int partner = rank_ ^ mask;
    TRI_RETURN_IF_ERROR(
        Transfer(operation, {partner, BytesOf(values)}, {partner, std::as_writable_bytes(theirs)}));
    float* const sum = values.data();
    const float* const other = theirs.data();
    if (rank_ < partner) {
      for (size_t i = 0; i < values.size(); ++i) sum[i] = sum[i] + other[i];
    } else {
      for (size_t i = 0; i < values.size(); ++i) sum[i] = other[i] + sum[i];
    }
  }
  return absl::OkStatus();
}

void PeerCommunicator::AllGather(ConstTensorView mine, std::span<const int64_t> widths,
                                 TensorView all, std::string_view what) {
  TRI_CHECK_EQ(static_cast<int>(widths.size()), size());
  TRI_CHECK(mine.dtype == DType::kF32 && mine.contiguous());
  TRI_CHECK(all.dtype == DType::kF32 && all.contiguous());
  const int64_t total = std::accumulate(widths.begin(), widths.end(), int64_t{0});
  if (total == 0 || all.empty()) return;
  TRI_CHECK_EQ(all.columns(), total);
  const int64_t rows = all.rows();
  const int64_t my_width = widths[static_cast<size_t>(rank_)];
  TRI_CHECK_EQ(mine.bytes(), rows * my_width * int64_t{sizeof(float)});

  // Copies `count` rows of the slice of `rank`, packed at `from`, to their places.
  const auto spread = [&](int rank, const std::byte* from, int64_t first, int64_t count) {
    const int64_t offset = std::accumulate(widths.begin(), widths.begin() + rank, int64_t{0});
    const auto bytes = static_cast<size_t>(widths[static_cast<size_t>(rank)]) * sizeof(float);
    for (int64_t row = first; row < first + count && bytes > 0; ++row, from += bytes) {
      std::memcpy(all.row(row) + offset * int64_t{sizeof(float)}, from, bytes);
    }
  };
  spread(rank_, mine.data, 0, rows);
  if (size() == 1) {
    endpoint_.Progress();
    return;
  }

  // A slice of one row is received in place; rows narrower than the scratch travel many at a time.
  const int64_t widest = *std::max_element(widths.begin(), widths.end());
  const int64_t fitting = int64_t{kScratchBytes / sizeof(float)} / widest;
  const int64_t rows_at_once = std::clamp<int64_t>(fitting, 1, rows);
  const bool on_board = board_ != nullptr && board_->ranks() == size() && fitting > 0;
  const auto slice = [&](int rank, int64_t first, int64_t count) -> std::span<std::byte> {
    const int64_t width = widths[static_cast<size_t>(rank)];
    const auto bytes = static_cast<size_t>(count * width) * sizeof(float);
    if (count > 1) return {scratch_.view().data, bytes};
    const int64_t offset = std::accumulate(widths.begin(), widths.begin() + rank, int64_t{0});
    return {all.row(first) + offset * int64_t{sizeof(float)}, bytes};
  };
  const Operation operation = Of(Verb::kAllGather, what, StepDeadline());
  Run(operation, static_cast<size_t>(all.bytes()), [&]() -> absl::Status {
    for (int64_t first = 0; first < rows; first += rows_at_once) {
      const int64_t count = std::min(rows_at_once, rows - first);
      const std::span<const std::byte> outgoing(
          mine.data + first * my_width * int64_t{sizeof(float)},
          static_cast<size_t>(count * my_width) * sizeof(float));
      if (on_board) {
        TRI_RETURN_IF_ERROR(ExchangeOnBoard(operation, outgoing));
        for (int other = 0; other < size(); ++other) {
          if (other != rank_) spread(other, board_->Of(other), first, count);
        }
        continue;
      }
      for (int shift = 1; shift < size(); ++shift) {
        const int from = ShiftedRank(-shift);
        const std::span<std::byte> incoming = slice(from, first, count);
        TRI_RETURN_IF_ERROR(Transfer(operation, {ShiftedRank(shift), outgoing}, {from, incoming}));
        if (count > 1) spread(from, incoming.data(), first, count);
      }
    }
    return absl::OkStatus();
  }).IgnoreError();
}

absl::Status PeerCommunicator::GatherEqual(const Operation& operation, std::span<std::byte> all,
                                           size_t bytes) {
  const auto block = [&](int rank) {
    return all.subspan(static_cast<size_t>(rank) * bytes, bytes);
  };
  for (int shift = 1; shift < size(); ++shift) {
    const int from = ShiftedRank(-shift);
    TRI_RETURN_IF_ERROR(
        Transfer(operation, {ShiftedRank(shift), block(rank_)}, {from, block(from)}));
  }
  return absl::OkStatus();
}

// After the round of distance d, a rank has heard, directly or not, from the 2d - 1 ranks before
// it.
absl::Status PeerCommunicator::Barrier(Deadline deadline, std::string_view what) {
  const Operation operation = Of(Verb::kBarrier, what, deadline);
  return Run(operation, 0, [&]() -> absl::Status {
    for (int distance = 1; distance < size(); distance <<= 1) {
      TRI_RETURN_IF_ERROR(
          Transfer(operation, {ShiftedRank(distance), {}}, {ShiftedRank(-distance), {}}));
    }
    return absl::OkStatus();
  });
}

absl::Status PeerCommunicator::Broadcast(int root, std::span<std::byte> data, Deadline deadline,
                                         std::string_view what) {
  TRI_CHECK(root >= 0 && root < size());
  const Operation operation = Of(Verb::kBroadcast, what, deadline);
  return Run(operation, data.size(), [&]() -> absl::Status {
    // Ranks counted from the root: one receives from the rank without its lowest bit, and passes on
    // to those with one more bit below that.
    const int relative = ShiftedRank(-root);
    const auto actual = [&](int other) { return (other + root) % size(); };
    const int lowest = relative == 0
                           ? static_cast<int>(std::bit_ceil(static_cast<unsigned>(size())))
                           : relative & -relative;
    size_t begin = 0;
    do {
      const auto part = data.subspan(begin, std::min(Endpoint::kMaxTransfer, data.size() - begin));
      if (relative != 0) {
        TRI_RETURN_IF_ERROR(Transfer(operation, {}, {actual(relative - lowest), part}));
      }
      for (int bit = lowest >> 1; bit > 0; bit >>= 1) {
        if (relative + bit >= size()) continue;
        TRI_RETURN_IF_ERROR(Transfer(operation, {actual(relative + bit), part}, {}));
      }
      begin += part.size();
    } while (begin < data.size());
    return absl::OkStatus();
  });
}

absl::Status PeerCommunicator::Send(int to, std::span<const std::byte> data, Deadline deadline,
                                    std::string_view what) {
  TRI_CHECK(to >= 0 && to < size() && to != rank_);
  const Operation operation = Of(Verb::kSend, what, deadline, Channel::kPointToPoint);
  return Run(operation, data.size(), [&]() -> absl::Status {
    size_t begin = 0;
    do {
      const auto part = data.subspan(begin, std::min(Endpoint::kMaxTransfer, data.size() - begin));
      TRI_RETURN_IF_ERROR(Transfer(operation, {to, part}, {}));
      begin += part.size();
    } while (begin < data.size());
    return absl::OkStatus();
  });
}

absl::Status PeerCommunicator::Recv(int from, std::span<std::byte> data, Deadline deadline,
                                    std::string_view what) {
  TRI_CHECK(from >= 0 && from < size() && from != rank_);
  const Operation operation = Of(Verb::kReceive, what, deadline, Channel::kPointToPoint);
  return Run(operation, data.size(), [&]() -> absl::Status {
    size_t begin = 0;
    do {
      const auto part = data.subspan(begin, std::min(Endpoint::kMaxTransfer, data.size() - begin));
      TRI_RETURN_IF_ERROR(Transfer(operation, {}, {from, part}));
      begin += part.size();
    } while (begin < data.size());
    return absl::OkStatus();
  });
}

absl::Status PeerCommunicator::SendMessage(int to, std::span<const std::byte> data,
                                           Deadline deadline, std::string_view what) {
  TRI_CHECK(to >= 0 && to < size() && to != rank_);
  const Operation operation = Of(Verb::kSendMessage, what, deadline, Channel::kMessage);
  return Run(operation, data.size(), [&]() -> absl::Status {
    if (data.size() > Endpoint::kMaxTransfer) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: a message holds at most %d bytes; got %d", Describe(operation),
                          Endpoint::kMaxTransfer, data.size()));
    }
    return Transfer(operation, {to, data}, {});
  });
}

absl::StatusOr<std::span<const std::byte>> PeerCommunicator::RecvMessage(int from, size_t max_bytes,
                                                                         Deadline deadline,
                                                                         std::string_view what) {
  TRI_CHECK(from >= 0 && from < size() && from != rank_);
  const Operation operation = Of(Verb::kReceiveMessage, what, deadline, Channel::kMessage);
  TRI_RETURN_IF_ERROR(Run(operation, max_bytes, [&]() -> absl::Status {
    ring_.WaitFor(world_ranks_[static_cast<size_t>(from)]);
    PoliteWait wait(endpoint_.may_spin(), deadline);
    std::optional<size_t> bytes;
    while (!(bytes = endpoint_.Waiting(RouteTo(from, Channel::kMessage))).has_value()) {
      if (!wait.Pause()) return Late(operation, from);
    }
    if (*bytes > max_bytes) {
      return absl::ResourceExhaustedError(absl::StrFormat(
          "%s: rank %d on host %s sent %d bytes; at most %d are accepted", Describe(operation),
          world_ranks_[static_cast<size_t>(from)], HostOf(from), *bytes, max_bytes));
    }
    message_.resize(*bytes);
    return Transfer(operation, {}, {from, message_});
  }));
  return std::span<const std::byte>(message_);
}

bool PeerCommunicator::Probe(int from) {
  TRI_CHECK(from >= 0 && from < size() && from != rank_);
  return status_.ok() && endpoint_.Waiting(RouteTo(from, Channel::kMessage)).has_value();
}

absl::StatusOr<std::unique_ptr<Communicator>> PeerCommunicator::Split(int color, int key,
                                                                      Deadline deadline) {
  std::vector<SplitVote> votes(static_cast<size_t>(size()));
  votes[static_cast<size_t>(rank_)] = {color, key, endpoint_.contexts()};
  const Operation operation = Of(Verb::kSplit, "split", deadline);
  TRI_RETURN_IF_ERROR(Run(operation, sizeof(SplitVote), [&] {
    return GatherEqual(operation, std::as_writable_bytes(std::span(votes)), sizeof(SplitVote));
  }));
  std::vector<int> members;
  int context = 0;
  for (int rank = 0; rank < size(); ++rank) {
    const SplitVote& vote = votes[static_cast<size_t>(rank)];
    context = std::max<int>(context, vote.contexts);
    if (vote.color == color) members.push_back(rank);
  }
  endpoint_.UseContext(context);
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
    return votes[static_cast<size_t>(a)].key < votes[static_cast<size_t>(b)].key;
  });
  const auto place = std::find(members.begin(), members.end(), rank_);
  const int rank = static_cast<int>(place - members.begin());
  for (int& member : members) member = world_ranks_[static_cast<size_t>(member)];
  auto part = std::make_unique<PeerCommunicator>(endpoint_, ring_,
                                                 Membership{std::move(members), rank, context});
  TRI_RETURN_IF_ERROR(part->MakeBoard(deadline));
  return part;
}


}  // namespace trireme
