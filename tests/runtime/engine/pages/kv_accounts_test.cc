#include "runtime/engine/pages/kv_accounts.h"

#include <gtest/gtest.h>

#include <numeric>

namespace trireme {
namespace {

constexpr int64_t kPageTokens = 4;

std::vector<int32_t> Text(int64_t size) {
  std::vector<int32_t> tokens(static_cast<size_t>(size));
  std::iota(tokens.begin(), tokens.end(), 100);
  return tokens;
}

// Reads the whole text, sharing what it may, and tells the index.
int64_t Read(KvAccounts& kv, SequencePages& sequence, const std::vector<int32_t>& tokens) {
  const auto size = static_cast<int64_t>(tokens.size());
  int64_t computed = kv.Share(sequence, tokens, 0, size - 1);
  const int64_t shared = computed;
  while (computed < size) {
    const int64_t rows =
        std::min({size - computed, kv.Room(sequence, computed), kv.LeftOfChunk(computed)});
    EXPECT_GT(rows, 0);
    kv.Take(sequence, computed + rows);
    computed += rows;
    kv.Register(sequence, tokens, computed, computed == size);
  }
  return shared;
}

TEST(KvAccounts, SharesFullPagesButNotTheLastToken) {
  KvAccounts kv({.pages = 8, .page_tokens = kPageTokens});
  SequencePages first;
  SequencePages second;
  EXPECT_EQ(Read(kv, first, Text(12)), 0);
  EXPECT_EQ(Read(kv, second, Text(12)), 8);
  EXPECT_EQ(second.pages[0], first.pages[0]);
  EXPECT_EQ(second.pages[1], first.pages[1]);
  // Computed twice, held once.
  EXPECT_EQ(second.pages[2], first.pages[2]);
  EXPECT_EQ(kv.pages().available(), 5);
}

TEST(KvAccounts, WhatNobodyHoldsIsFoundAgainUntilItsRoomIsNeeded) {
  KvAccounts kv({.pages = 4, .page_tokens = kPageTokens});
  SequencePages first;
  Read(kv, first, Text(9));
  kv.Release(first);
  EXPECT_EQ(kv.pages().available(), 4);
  EXPECT_EQ(kv.pages().idle(), 3);
  SequencePages again;
  EXPECT_EQ(Read(kv, again, Text(9)), 8);
  kv.Release(again);
  SequencePages other;
  std::vector<int32_t> tokens(12, 7);
  EXPECT_EQ(Read(kv, other, tokens), 0);
  kv.Release(other);
  // The deeper page went first.
  EXPECT_EQ(Read(kv, again, Text(9)), 4);
}

TEST(KvAccounts, ApartBySaltAndNotAtAllWhenOff) {
  KvAccounts kv({.pages = 8, .page_tokens = kPageTokens});
  SequencePages first{.salt = "a"};
  SequencePages second{.salt = "b"};
  Read(kv, first, Text(9));
  EXPECT_EQ(Read(kv, second, Text(9)), 0);
  KvAccounts off({.pages = 8, .page_tokens = kPageTokens, .prefix_cache = false});
  SequencePages third;
  SequencePages fourth;
  Read(off, third, Text(9));
  EXPECT_EQ(Read(off, fourth, Text(9)), 0);
}

TEST(KvAccounts, TheBeginningOfAPageIsCopiedAndItsSourceHeldUntilThen) {
  KvAccounts kv({.pages = 4, .page_tokens = kPageTokens});
  SequencePages first;
  Read(kv, first, Text(7));  // its last page ends in a tail of three
  SequencePages second;
  EXPECT_EQ(kv.Share(second, Text(7), 0, 6), 4);
  const KvCopy copy = kv.PinCopy(second, Text(7), 4, 6);
  EXPECT_EQ(copy.tokens, 2);
  EXPECT_EQ(copy.page, first.pages[1]);
  kv.Release(first);
  EXPECT_TRUE(kv.pages().held(copy.page));
  kv.EndPlan();
  EXPECT_FALSE(kv.pages().held(copy.page));
}

TEST(KvAccounts, ASmallPartOfAPageIsNotWorthACopy) {
  KvAccounts kv({.pages = 4, .page_tokens = 16});
  SequencePages first;
  Read(kv, first, Text(15));
  std::vector<int32_t> tokens = Text(15);
  tokens[3] = 1;
  EXPECT_EQ(kv.PinCopy({}, tokens, 0, 14).tokens, 0);
  tokens = Text(15);
  tokens[4] = 1;
  EXPECT_EQ(kv.PinCopy({}, tokens, 0, 14).tokens, 4);
  // All that is left is worth it.
  EXPECT_EQ(kv.PinCopy({}, Text(3), 0, 2).tokens, 2);
  kv.EndPlan();
}

TEST(KvAccounts, ChunkedLayersNeedTheirCurrentChunkToo) {
  KvAccounts kv({.pages = 16, .chunk = 12, .chunk_pages = 5, .page_tokens = kPageTokens});
  SequencePages first;
  Read(kv, first, Text(35));
  EXPECT_EQ(first.pages.size(), 9U);
  EXPECT_EQ(first.chunk_start, 24);
  EXPECT_EQ(first.chunk_pages.size(), 3U);
  // The first chunk's pages made room for the later ones', as did the end of the second's.
  const auto shares = [&](int64_t limit, size_t chunk_pages) {
    SequencePages sequence;
    const int64_t shared = kv.Share(sequence, Text(35), 0, limit);
    EXPECT_EQ(sequence.chunk_pages.size(), chunk_pages);
    kv.Release(sequence);
    return shared;
  };
  EXPECT_EQ(shares(11, 0), 0);
  EXPECT_EQ(shares(12, 0), 12);  // where a chunk begins nothing of it is needed
  EXPECT_EQ(shares(23, 2), 20);
  EXPECT_EQ(shares(34, 2), 32);
}

TEST(KvAccounts, SharesNothingWherePagesDoNotDivideAChunk) {
  KvAccounts kv({.pages = 16, .chunk = 6, .chunk_pages = 4, .page_tokens = kPageTokens});
  EXPECT_FALSE(kv.shares());
  SequencePages first;
  Read(kv, first, Text(23));
  EXPECT_EQ(first.chunk_start, 18);
  kv.Release(first);
  EXPECT_EQ(kv.pages().free(), 16);
  EXPECT_EQ(kv.chunk_pages().free(), 4);
}

}  // namespace
}  // namespace trireme
