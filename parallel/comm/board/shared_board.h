// Memory that the ranks of one machine share, on which each puts up what it has for the others: a
// sum or a gather then takes one write, one flag and reads, and no call of a transport (which on
// one machine cost 2 to 5 us each, 60 times a token).
//
// An exchange is numbered; each rank has two slots, for even and odd numbers, and a flag with the
// number of the last exchange that it put up. A rank puts up exchange k only after it has read
// everybody's k - 1 (INV-BOARD-1), so whoever sees flag k - 1 of all may write over its own k - 2.
//
// One thread a rank. The memory has a name only until all have opened it: nothing is left behind
// where a rank dies later.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

class SharedBoard {
 public:
  // Most bytes of one exchange, a rank: what stays in a core's own cache.
  static constexpr size_t kSlotBytes = size_t{256} << 10;
  static constexpr int kMostRanks = 64;

  // New memory for so many ranks, of which this is `rank`. RESOURCE_EXHAUSTED or UNAVAILABLE where
  // the machine grants none (a container with a small /dev/shm): ranks then do without.
  static absl::StatusOr<std::unique_ptr<SharedBoard>> Create(int ranks, int rank);
  // That which another rank has made.
  static absl::StatusOr<std::unique_ptr<SharedBoard>> Open(const std::string& name, int ranks,
                                                           int rank);
  SharedBoard(const SharedBoard&) = delete;
  SharedBoard& operator=(const SharedBoard&) = delete;
  ~SharedBoard();

  const std::string& name() const { return name_; }
  // Takes the name away; those who have opened the memory keep it.
  void Unlink();

  int ranks() const { return ranks_; }
  int rank() const { return rank_; }

  // Begins the next exchange with at most kSlotBytes of this rank's.
  void PutUp(std::span<const std::byte> mine);
  // Whether a rank's part of the current exchange is up.
  bool IsUp(int rank) const;
  // It, once it is up; as it is until this rank's next PutUp.
  const std::byte* Of(int rank) const;

 private:
  struct alignas(64) Flag {
    std::atomic<uint64_t> exchange;
  };
  static_assert(std::atomic<uint64_t>::is_always_lock_free, "flags are shared by processes");

  SharedBoard(std::string name, int ranks, int rank, std::byte* memory);
  static absl::StatusOr<std::byte*> Map(int file, int ranks);
  static size_t Bytes(int ranks);
  Flag& FlagOf(int rank) const;
  std::byte* SlotOf(int rank) const;  // of the current exchange

  const std::string name_;
  const int ranks_;
  const int rank_;
  std::byte* const memory_;  // flags, then slots
  bool named_ = false;       // by this rank, and the name not yet taken away
  uint64_t exchange_ = 0;
};

}  // namespace trireme
