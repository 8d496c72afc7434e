#include "parallel/comm/board/shared_board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

absl::Status SystemError(const char* call, const std::string& name, int error) {
  return absl::ErrnoToStatus(error, absl::StrFormat("%s of shared memory %s", call, name));
}

absl::StatusOr<std::string> NewName() {
  uint64_t random = 0;
  if (getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random)) {
    return absl::ErrnoToStatus(errno, "getrandom");
  }
  return absl::StrFormat("/trireme-%016x", random);
}

}  // namespace

size_t SharedBoard::Bytes(int ranks) {
  return static_cast<size_t>(ranks) * (sizeof(Flag) + 2 * kSlotBytes);
}

absl::StatusOr<std::byte*> SharedBoard::Map(int file, int ranks) {
  void* const memory =
      mmap(nullptr, Bytes(ranks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(errno, "mmap of shared memory");
  return static_cast<std::byte*>(memory);
}

absl::StatusOr<std::unique_ptr<SharedBoard>> SharedBoard::Create(int ranks, int rank) {
  TRI_CHECK(ranks >= 2 && ranks <= kMostRanks && rank >= 0 && rank < ranks);
  TRI_ASSIGN_OR_RETURN(const std::string name, NewName());
  const int file = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return SystemError("shm_open", name, errno);
  // Reserved now: memory that is lacking later would be a SIGBUS. Zeros are flags of exchange 0.
  const int error = posix_fallocate(file, 0, static_cast<off_t>(Bytes(ranks)));
  absl::StatusOr<std::byte*> memory =
      error == 0 ? Map(file, ranks) : SystemError("posix_fallocate", name, error);
  close(file);
  if (!memory.ok()) {
    shm_unlink(name.c_str());
    return memory.status();
  }
  auto board = absl::WrapUnique(new SharedBoard(name, ranks, rank, *memory));
  board->named_ = true;
  return board;
}

absl::StatusOr<std::unique_ptr<SharedBoard>> SharedBoard::Open(const std::string& name, int ranks,
                                                               int rank) {
  TRI_CHECK(ranks >= 2 && ranks <= kMostRanks && rank >= 0 && rank < ranks);
  const int file = shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return SystemError("shm_open", name, errno);
  absl::StatusOr<std::byte*> memory = Map(file, ranks);
  close(file);
  TRI_RETURN_IF_ERROR(memory.status());
  return absl::WrapUnique(new SharedBoard(name, ranks, rank, *memory));
}

SharedBoard::SharedBoard(std::string name, int ranks, int rank, std::byte* memory)
    : name_(std::move(name)), ranks_(ranks), rank_(rank), memory_(memory) {}

SharedBoard::~SharedBoard() {
  Unlink();
  munmap(memory_, Bytes(ranks_));
}

void SharedBoard::Unlink() {
  if (std::exchange(named_, false)) shm_unlink(name_.c_str());
}

SharedBoard::Flag& SharedBoard::FlagOf(int rank) const {
  return *reinterpret_cast<Flag*>(memory_ + static_cast<size_t>(rank) * sizeof(Flag));
}

std::byte* SharedBoard::SlotOf(int rank) const {
  const size_t slot = 2 * static_cast<size_t>(rank) + exchange_ % 2;
  return memory_ + static_cast<size_t>(ranks_) * sizeof(Flag) + slot * kSlotBytes;
}

void SharedBoard::PutUp(std::span<const std::byte> mine) {
  TRI_CHECK_LE(mine.size(), kSlotBytes);
  ++exchange_;
  if (!mine.empty()) std::memcpy(SlotOf(rank_), mine.data(), mine.size());
  FlagOf(rank_).exchange.store(exchange_, std::memory_order_release);
}

bool SharedBoard::IsUp(int rank) const {
  return FlagOf(rank).exchange.load(std::memory_order_acquire) >= exchange_;
}

const std::byte* SharedBoard::Of(int rank) const { return SlotOf(rank); }

}  // namespace trireme
