// The memory that ranks of a PeerCommunicator share: how they come by it, and sums over it.
#include <algorithm>
#include <array>
#include <bit>
#include <string>
#include <utility>
#include <vector>

#include "parallel/comm/board/shared_board.h"
#include "parallel/comm/peer_comm.h"
#include "parallel/comm/polite_wait.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// INV-COMM-3's tree over parts [0, kRanks) of element i.
template <int kRanks>
float TreeOf(const float* const* parts, size_t i) {
  if constexpr (kRanks == 1) {
    return parts[0][i];
  } else {
    return TreeOf<kRanks / 2>(parts, i) + TreeOf<kRanks / 2>(parts + kRanks / 2, i);
  }
}

// sum = the tree over `ranks` parts, a power of two. sum is none of them.
template <int kRanks = SharedBoard::kMostRanks>
void SumOfParts(const float* const* parts, int ranks, std::span<float> sum) {
  if constexpr (kRanks > 2) {
    if (ranks < kRanks) return SumOfParts<kRanks / 2>(parts, ranks, sum);
  }
  for (size_t i = 0; i < sum.size(); ++i) sum[i] = TreeOf<kRanks>(parts, i);
}

}  // namespace

absl::Status PeerCommunicator::ExchangeOnBoard(const Operation& operation,
                                               std::span<const std::byte> mine) {
  board_->PutUp(mine);
  const int first = rank_ - board_->rank();
  for (int other = 0; other < board_->ranks(); ++other) {
    if (other == board_->rank()) continue;
    ring_.WaitFor(world_ranks_[static_cast<size_t>(first + other)]);
    PoliteWait wait(endpoint_.may_spin(), operation.deadline);
    while (!board_->IsUp(other)) {
      endpoint_.Progress();
      if (!wait.Pause()) return Late(operation, first + other);
    }
  }
  return absl::OkStatus();
}

absl::Status PeerCommunicator::SumOnBoard(const Operation& operation, std::span<float> values) {
  TRI_RETURN_IF_ERROR(ExchangeOnBoard(operation, std::as_bytes(std::span<const float>(values))));
  std::array<const float*, SharedBoard::kMostRanks> parts{};
  for (int rank = 0; rank < board_->ranks(); ++rank) {
    parts[static_cast<size_t>(rank)] = reinterpret_cast<const float*>(board_->Of(rank));
  }
  SumOfParts(parts.data(), board_->ranks(), values);
  return absl::OkStatus();
}

int PeerCommunicator::RanksOfBoard() const {
  const auto share = [&](int a, int b) {
    return endpoint_.SharesMachine(world_ranks_[static_cast<size_t>(a)],
                                   world_ranks_[static_cast<size_t>(b)]);
  };
  int ranks = 1;
  while (2 * ranks <= std::min(size(), SharedBoard::kMostRanks)) {
    for (int rank = 0; rank < size(); ++rank) {
      if (!share(rank, rank & ~(2 * ranks - 1))) return ranks;
    }
    ranks *= 2;
  }
  return ranks;
}

absl::Status PeerCommunicator::MakeBoard(Deadline deadline) {
  if (!std::has_single_bit(static_cast<unsigned>(size()))) return absl::OkStatus();
  const int ranks = RanksOfBoard();
  if (ranks == 1) return absl::OkStatus();
  const int first = rank_ & ~(ranks - 1);
  if (rank_ == first) {
    auto made = SharedBoard::Create(ranks, 0);
    if (made.ok()) {
      board_ = *std::move(made);
    } else {
      LogWarning("ranks of this machine share no memory and are slower for it",
                 {{"error", made.status().ToString()}});
    }
  }
  TRI_RETURN_IF_ERROR(ShareBoard(first, ranks, deadline));
  // All or none: ranks must agree on who adds what.
  std::vector<char> have(static_cast<size_t>(size()));
  have[static_cast<size_t>(rank_)] = board_ == nullptr ? 0 : 1;
  const Operation operation = Of(Verb::kSplit, "shared memory", deadline);
  TRI_RETURN_IF_ERROR(Run(operation, 1, [&] {
    return GatherEqual(operation, std::as_writable_bytes(std::span(have)), 1);
  }));
  if (board_ != nullptr) board_->Unlink();
  if (std::ranges::count(have, 0) > 0) board_.reset();
  return absl::OkStatus();
}

absl::Status PeerCommunicator::ShareBoard(int first, int ranks, Deadline deadline) {
  constexpr std::string_view kWhat = "shared memory";
  if (rank_ == first) {
    const std::string name = board_ == nullptr ? "" : board_->name();
    for (int rank = first + 1; rank < first + ranks; ++rank) {
      TRI_RETURN_IF_ERROR(
          SendMessage(rank, std::as_bytes(std::span(name.data(), name.size())), deadline, kWhat));
    }
    return absl::OkStatus();
  }
  constexpr size_t kLongestName = 64;
  TRI_ASSIGN_OR_RETURN(const std::span<const std::byte> message,
                       RecvMessage(first, kLongestName, deadline, kWhat));
  const std::string name(reinterpret_cast<const char*>(message.data()), message.size());
  if (name.empty()) return absl::OkStatus();
  auto opened = SharedBoard::Open(name, ranks, rank_ - first);
  if (opened.ok()) board_ = *std::move(opened);
  return absl::OkStatus();
}

}  // namespace trireme
