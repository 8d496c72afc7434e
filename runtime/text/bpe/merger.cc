#include "runtime/text/bpe/merger.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace trireme {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

BpeMerger::BpeMerger(const BpeVocabulary& vocabulary)
    : whole_piece_first_(vocabulary.whole_piece_first) {
  const auto num_tokens = static_cast<int32_t>(vocabulary.tokens.size());
  by_bytes_.reserve(vocabulary.tokens.size());
  by_byte_.fill(-1);
  for (int32_t id = 0; id < num_tokens; ++id) {
    const std::string& bytes = vocabulary.tokens[id];
    if (vocabulary.kinds[id] != TokenKind::kText || bytes.empty()) continue;
    by_bytes_.emplace(bytes, id);
    longest_ = std::max(longest_, bytes.size());
    if (bytes.size() == 1 && by_byte_[static_cast<uint8_t>(bytes[0])] < 0) {
      by_byte_[static_cast<uint8_t>(bytes[0])] = id;
    }
  }
  if (vocabulary.merging == BpeVocabulary::Merging::kByList) {
    pairs_.reserve(vocabulary.merges.size());
    uint32_t rank = 0;
    for (const BpeVocabulary::Merge& merge : vocabulary.merges) {
      pairs_.emplace(PairKey(merge.left, merge.right), Pair{rank++, merge.merged});
    }
    return;
  }
  // Every way to cut a token into two tokens is a pair of that token's rank, which is its id.
  for (const auto& [bytes, id] : by_bytes_) {
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = by_bytes_.find(bytes.substr(0, cut));
      if (left == by_bytes_.end()) continue;
      const auto right = by_bytes_.find(bytes.substr(cut));
      if (right == by_bytes_.end()) continue;
      pairs_.emplace(PairKey(left->second, right->second), Pair{static_cast<uint32_t>(id), id});
    }
  }
}

BpeMerger::Pair BpeMerger::Lookup(int32_t left, int32_t right) const {
  const auto at = pairs_.find(PairKey(left, right));
  return at == pairs_.end() ? Pair{} : at->second;
}

// Ranks the pair that `symbol` begins; a candidate goes on the heap.
void BpeMerger::Consider(Scratch& scratch, uint32_t symbol) const {
  Scratch::Symbol& left = scratch.symbols[symbol];
  left.rank = kNoPair;
  if (left.next == kEnd) return;
  left.rank = Lookup(left.id, scratch.symbols[left.next].id).rank;
  if (left.rank == kNoPair) return;
  scratch.heap.push_back(uint64_t{left.rank} << 32 | symbol);
  std::push_heap(scratch.heap.begin(), scratch.heap.end(), std::greater<>());
}

// Merges `left` with its neighbour and ranks the two pairs that this makes.
void BpeMerger::Join(Scratch& scratch, uint32_t left) const {
  Scratch::Symbol& symbol = scratch.symbols[left];
  Scratch::Symbol& absorbed = scratch.symbols[symbol.next];
  symbol.id = Lookup(symbol.id, absorbed.id).merged;
  symbol.next = absorbed.next;
  absorbed.id = -1;
  absorbed.rank = kNoPair;
  if (symbol.next != kEnd) scratch.symbols[symbol.next].previous = left;
  Consider(scratch, left);
  if (symbol.previous != kEnd) Consider(scratch, symbol.previous);
}

void BpeMerger::Encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  TRI_CHECK(piece.size() < kEnd) << piece.size();
  if (whole_piece_first_ && piece.size() <= longest_) {
    if (const auto whole = by_bytes_.find(piece); whole != by_bytes_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  scratch.symbols.clear();
  scratch.heap.clear();
  for (const char byte : piece) {
    const int32_t id = by_byte_[static_cast<uint8_t>(byte)];
    if (id < 0) continue;  // no token stands for this byte: dropped, its neighbours meet
    const auto at = static_cast<uint32_t>(scratch.symbols.size());
    scratch.symbols.push_back({id, kNoPair, at + 1, at - 1});  // 0 - 1 is kEnd
  }
  if (scratch.symbols.empty()) return;
  scratch.symbols.back().next = kEnd;
  for (uint32_t at = 0; at + 1 < scratch.symbols.size(); ++at) {
    Scratch::Symbol& symbol = scratch.symbols[at];
    symbol.rank = Lookup(symbol.id, scratch.symbols[at + 1].id).rank;
    if (symbol.rank != kNoPair) scratch.heap.push_back(uint64_t{symbol.rank} << 32 | at);
  }
  std::make_heap(scratch.heap.begin(), scratch.heap.end(), std::greater<>());
  while (!scratch.heap.empty()) {
    std::pop_heap(scratch.heap.begin(), scratch.heap.end(), std::greater<>());
    const uint64_t candidate = scratch.heap.back();
    scratch.heap.pop_back();
    const auto left = static_cast<uint32_t>(candidate);
    // A stale candidate: one of its symbols has since been merged with another.
    if (scratch.symbols[left].rank != static_cast<uint32_t>(candidate >> 32)) continue;
    Join(scratch, left);
  }
  for (uint32_t at = 0; at != kEnd; at = scratch.symbols[at].next) {
    ids.push_back(scratch.symbols[at].id);
  }
}

}  // namespace trireme
