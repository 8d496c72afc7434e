// Byte-pair merging of one piece: start from single bytes, and as long as two neighbours may merge,
// merge the pair of lowest rank (the leftmost of equals). Neighbours are a linked list and
// candidate pairs a heap, so a piece of n bytes costs O(n log n) whatever it holds; a megabyte of
// one letter is as harmless as a page of prose.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "runtime/text/bpe/vocabulary.h"

namespace trireme {

class BpeMerger {
 public:
  // Working memory, kept between pieces by the caller (one a thread).
  struct Scratch {
    struct Symbol {
      int32_t id;     // -1: merged into its left neighbour
      uint32_t rank;  // of the pair it begins with `next`; kNoPair
      uint32_t next;  // kEnd: the last
      uint32_t previous;
    };
    std::vector<Symbol> symbols;
    std::vector<uint64_t> heap;  // rank in the upper half, symbol in the lower
  };

  // `vocabulary` (already checked) must outlive this; its token strings are pointed into.
  explicit BpeMerger(const BpeVocabulary& vocabulary);

  // Appends the tokens of `piece`, which is shorter than 2^32 bytes.
  void Encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  struct Pair {
    uint32_t rank = kNoPair;
    int32_t merged = -1;
  };
  static constexpr uint32_t kNoPair = UINT32_MAX;
  static constexpr uint32_t kEnd = UINT32_MAX;

  Pair Lookup(int32_t left, int32_t right) const;
  void Consider(Scratch& scratch, uint32_t symbol) const;
  void Join(Scratch& scratch, uint32_t left) const;

  // A token text of merging: equal bytes are one token, the lower id.
  absl::flat_hash_map<std::string_view, int32_t, std::hash<std::string_view>> by_bytes_;
  absl::flat_hash_map<uint64_t, Pair> pairs_;  // (left << 32 | right)
  std::array<int32_t, 256> by_byte_{};         // -1: no token
  size_t longest_ = 0;                         // bytes of the longest text token
  bool whole_piece_first_ = false;
};

}  // namespace trireme
