// A Communicator over any Endpoint: tree sums by recursive doubling, gathers and barriers by
// shifted exchanges, broadcasts down a binomial tree. Each is a sequence of transfers with one peer
// at a time, so that a late rank is known by name.
//
// Where ranks of a part that was split off share a machine, the lower levels of its sums, and
// gathers among them alone, go over memory that they share (SharedBoard), in the same order of
// additions.
//
// Working memory is allocated once: no operation of a step allocates. After a failure that left a
// send in flight the transport may still read its buffer, and the process is expected to end.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "parallel/comm/communicator.h"
#include "parallel/comm/endpoint.h"
#include "parallel/comm/flight_ring.h"
#include "parallel/comm/board/shared_board.h"

namespace trireme {

class PeerCommunicator final : public Communicator {
 public:
  struct Membership {
    std::vector<int> world_ranks;  // of this communicator's ranks, in their order
    int rank = 0;                  // this process's place among them
    int context = 0;               // INV-COMM-2
  };

  // The world: every rank of the endpoint. `endpoint` and `ring` must outlive it.
  PeerCommunicator(Endpoint& endpoint, FlightRing& ring);
  // Some of them; made by Split.
  PeerCommunicator(Endpoint& endpoint, FlightRing& ring, Membership membership);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(world_ranks_.size()); }
  void TreeSum(TensorView data, std::string_view what) override;
  void AllGather(ConstTensorView mine, std::span<const int64_t> widths, TensorView all,
                 std::string_view what) override;
  absl::Status status() const override { return status_; }

  void SetStep(uint64_t step, Deadline deadline) override;
  absl::Status Barrier(Deadline deadline, std::string_view what) override;
  absl::Status Broadcast(int root, std::span<std::byte> data, Deadline deadline,
                         std::string_view what) override;
  absl::Status Send(int to, std::span<const std::byte> data, Deadline deadline,
                    std::string_view what) override;
  absl::Status Recv(int from, std::span<std::byte> data, Deadline deadline,
                    std::string_view what) override;
  absl::Status SendMessage(int to, std::span<const std::byte> data, Deadline deadline,
                           std::string_view what) override;
  absl::StatusOr<std::span<const std::byte>> RecvMessage(int from, size_t max_bytes,
                                                         Deadline deadline,
                                                         std::string_view what) override;
  absl::StatusOr<Posted> PostSend(int to, std::span<const std::byte> data) override;
  absl::StatusOr<Posted> PostRecv(int from, std::span<std::byte> data) override;
  absl::StatusOr<Posted> PostMessage(int to, std::span<const std::byte> data) override;
  absl::StatusOr<bool> Poll(Posted& posted) override;
  absl::Status Finish(Posted& posted, Deadline deadline, std::string_view what) override;
  bool Probe(int from) override;
  absl::StatusOr<std::unique_ptr<Communicator>> Split(int color, int key,
                                                      Deadline deadline) override;
  std::string HostOf(int rank) const override;

 private:
  // One call, from its first wait to its last.
  struct Operation {
    Verb verb;
    std::string_view what;
    Deadline deadline;
    Deadline::Clock::time_point started = Deadline::Clock::now();
    Channel channel = Channel::kCollective;
    uint64_t step = 0;
  };
  struct Outgoing {
    int to = -1;  // -1: nothing to send
    std::span<const std::byte> data;
  };
  struct Incoming {
    int from = -1;  // -1: nothing to receive
    std::span<std::byte> data;
  };
  using Body = absl::FunctionRef<absl::Status()>;

  // Records the operation, runs it unless the communicator has failed, and keeps the first failure.
  absl::Status Run(const Operation& operation, size_t bytes, Body body);
  // An operation of the current step.
  Operation Of(Verb verb, std::string_view what, Deadline deadline,
               Channel channel = Channel::kCollective) const;
  // Sends and receives at once; returns when both are done.
  absl::Status Transfer(const Operation& operation, Outgoing out, Incoming in);
  // Starts one transfer and keeps its failure.
  absl::StatusOr<Posted> Post(Posted::Kind kind, int peer, size_t bytes,
                              absl::FunctionRef<absl::StatusOr<int>()> start);
  absl::Status TreeSumChunk(const Operation& operation, std::span<float> values);
  // Of the ranks on the board.
  absl::Status SumOnBoard(const Operation& operation, std::span<float> values);
  // Puts up this rank's part and waits for those of the others on the board.
  absl::Status ExchangeOnBoard(const Operation& operation, std::span<const std::byte> mine);
  // Collective: finds out which ranks share a machine, and gives them a board.
  absl::Status MakeBoard(Deadline deadline);
  // The name of new memory to the others of the board; an empty board where a rank has none.
  absl::Status ShareBoard(int first, int ranks, Deadline deadline);
  // The largest power of two so that ranks in aligned blocks of so many share machines.
  int RanksOfBoard() const;
  // all[r] of `bytes` each, all[rank()] already in place.
  absl::Status GatherEqual(const Operation& operation, std::span<std::byte> all, size_t bytes);

  Deadline StepDeadline() const;
  Route RouteTo(int rank, Channel channel) const;
  int ShiftedRank(int by) const { return (rank_ + by + size()) % size(); }
  std::string Describe(const Operation& operation) const;
  absl::Status Late(const Operation& operation, int rank) const;
  absl::Status Broken(const Operation& operation, int rank, const absl::Status& cause) const;

  Endpoint& endpoint_;
  FlightRing& ring_;
  const std::vector<int> world_ranks_;
  const int rank_;
  const int context_;
  Tensor scratch_;
  std::unique_ptr<SharedBoard> board_;  // of an aligned block of ranks; null: none
  std::vector<std::byte> message_;  // what RecvMessage returned
  uint64_t step_ = 0;
  std::optional<Deadline> step_deadline_;
  absl::Status status_;
};

}  // namespace trireme
