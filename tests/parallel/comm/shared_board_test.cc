#include "parallel/comm/board/shared_board.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

std::span<const std::byte> BytesOf(const uint64_t& value) {
  return std::as_bytes(std::span(&value, 1));
}

uint64_t ValueOf(const SharedBoard& board, int rank) {
  uint64_t value = 0;
  std::memcpy(&value, board.Of(rank), sizeof value);
  return value;
}

TEST(SharedBoard, BringsEachExchangeToEveryRank) {
  constexpr int kRanks = 3;
  constexpr uint64_t kExchanges = 2000;
  auto first = SharedBoard::Create(kRanks, 0);
  ASSERT_OK(first);
  std::vector<std::unique_ptr<SharedBoard>> boards;
  boards.push_back(*std::move(first));
  for (int rank = 1; rank < kRanks; ++rank) {
    auto opened = SharedBoard::Open(boards[0]->name(), kRanks, rank);
    ASSERT_OK(opened);
    boards.push_back(*std::move(opened));
  }
  boards[0]->Unlink();
  const auto run = [&](SharedBoard& board) {
    for (uint64_t exchange = 1; exchange <= kExchanges; ++exchange) {
      const uint64_t mine = exchange * 10 + static_cast<uint64_t>(board.rank());
      board.PutUp(BytesOf(mine));
      for (int rank = 0; rank < kRanks; ++rank) {
        while (!board.IsUp(rank)) std::this_thread::yield();
        ASSERT_EQ(ValueOf(board, rank), exchange * 10 + static_cast<uint64_t>(rank));
      }
    }
  };
  std::vector<std::jthread> threads;
  for (const auto& board : boards) threads.emplace_back([&] { run(*board); });
}

TEST(SharedBoard, LeavesNoNameBehind) {
  std::string name;
  {
    const auto board = SharedBoard::Create(2, 0);
    ASSERT_OK(board);
    name = (*board)->name();
    EXPECT_OK(SharedBoard::Open(name, 2, 1));
  }
  EXPECT_THAT(SharedBoard::Open(name, 2, 1),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(name)));
}

}  // namespace
}  // namespace trireme
