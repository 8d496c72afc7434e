#include "runtime/text/bpe/merger.h"

#include <gtest/gtest.h>

#include <random>

namespace trireme {
namespace {

using Ids = std::vector<int32_t>;

// The definition of byte-pair merging, step by step: quadratic and plainly right.
Ids MergeStepByStep(const BpeVocabulary& vocabulary, std::string_view piece) {
  Ids ids;
  for (const char byte : piece) {
    for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      if (vocabulary.tokens[id] == std::string(1, byte)) ids.push_back(static_cast<int32_t>(id));
    }
  }
  while (true) {
    size_t best_rank = SIZE_MAX;
    size_t best_at = 0;
    int32_t merged = -1;
    for (size_t at = 0; at + 1 < ids.size(); ++at) {
      for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
        const BpeVocabulary::Merge& merge = vocabulary.merges[rank];
        if (merge.left != ids[at] || merge.right != ids[at + 1] || rank >= best_rank) continue;
        best_rank = rank;
        best_at = at;
        merged = merge.merged;
      }
    }
    if (merged < 0) return ids;
    ids[best_at] = merged;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best_at) + 1);
  }
}

// Letters a to d, and random merges of what exists so far, in a random order of rank.
BpeVocabulary RandomVocabulary(std::mt19937& random, size_t num_merges) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "c", "d"};
  while (vocabulary.merges.size() < num_merges) {
    const auto left = static_cast<int32_t>(random() % vocabulary.tokens.size());
    const auto right = static_cast<int32_t>(random() % vocabulary.tokens.size());
    const std::string joined = vocabulary.tokens[left] + vocabulary.tokens[right];
    const auto known = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), joined);
    const auto merged = static_cast<int32_t>(known - vocabulary.tokens.begin());
    if (known == vocabulary.tokens.end()) vocabulary.tokens.push_back(joined);
    const bool twice =
        std::any_of(vocabulary.merges.begin(), vocabulary.merges.end(),
                    [&](const auto& merge) { return merge.left == left && merge.right == right; });
    if (!twice) vocabulary.merges.push_back({left, right, merged});
  }
  // A trained list never uses a token before it is made; a hostile one may.
  if (random() % 2 == 0) {
    std::shuffle(vocabulary.merges.begin(), vocabulary.merges.end(), random);
  }
  vocabulary.kinds.assign(vocabulary.tokens.size(), TokenKind::kText);
  return vocabulary;
}

TEST(BpeMerger, MergesAsTheDefinitionDoes) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const BpeVocabulary vocabulary = RandomVocabulary(random, 1 + random() % 20);
    const BpeMerger merger(vocabulary);
    BpeMerger::Scratch scratch;
    for (int round = 0; round < 20; ++round) {
      std::string piece;
      // Runs make overlapping candidates: "aaa" has two pairs that exclude each other.
      for (size_t runs = 1 + random() % 6; runs > 0; --runs) {
        piece.append(1 + random() % 5, static_cast<char>('a' + random() % 4));
      }
      Ids ids;
      merger.Encode(piece, scratch, ids);
      EXPECT_EQ(ids, MergeStepByStep(vocabulary, piece)) << "seed " << seed << " piece " << piece;
    }
  }
}

TEST(BpeMerger, ByRankMergesWhateverJoinsToAToken) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "c", "ab", "bc", "abc"};
  vocabulary.kinds.assign(6, TokenKind::kText);
  vocabulary.merging = BpeVocabulary::Merging::kByRank;
  const BpeMerger merger(vocabulary);
  BpeMerger::Scratch scratch;
  Ids ids;
  merger.Encode("abcbcab", scratch, ids);
  EXPECT_EQ(ids, (Ids{5, 4, 3}));
}

TEST(BpeMerger, LooksUpWholePiecesOnlyWhereTold) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "c", "abc"};  // no merges lead to "abc"
  vocabulary.kinds.assign(4, TokenKind::kText);
  for (const bool whole : {false, true}) {
    vocabulary.whole_piece_first = whole;
    const BpeMerger merger(vocabulary);
    BpeMerger::Scratch scratch;
    Ids ids;
    merger.Encode("abc", scratch, ids);
    EXPECT_EQ(ids, whole ? Ids{3} : (Ids{0, 1, 2}));
  }
}

TEST(BpeMerger, DropsBytesWithoutATokenAndJoinsTheirNeighbours) {
  BpeVocabulary vocabulary;
  vocabulary.tokens = {"a", "b", "ab"};
  vocabulary.kinds.assign(3, TokenKind::kText);
  vocabulary.merges = {{0, 1, 2}};
  const BpeMerger merger(vocabulary);
  BpeMerger::Scratch scratch;
  Ids ids;
  merger.Encode("xaxxbx", scratch, ids);
  EXPECT_EQ(ids, Ids{2});
  ids.clear();
  merger.Encode("xyz", scratch, ids);
  EXPECT_EQ(ids, Ids{});
}

}  // namespace
}  // namespace trireme
