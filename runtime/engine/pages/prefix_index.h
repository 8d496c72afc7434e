// Which pages hold the keys and values of which tokens: a tree of pages' worth of tokens, where the
// way from a root to a node spells all tokens from position 0 to the end of the node's page. Tokens
// are compared, not hashes of them, so that two texts are never taken for each other.
//
// A node with fewer tokens than a page takes (a tail) says so much of the page is known; its holder
// may still write behind them. Tails have no children.
//
// Roots are apart by salt: texts under different salts share nothing.
//
// INV-PREFIX-1: who holds a node's page holds those of all nodes above it, and lets go of the
// deeper first; so what has been idle longest is a leaf.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace trireme {

using TokenSpan = std::span<const int32_t>;

struct TokensLess {
  using is_transparent = void;
  bool operator()(TokenSpan a, TokenSpan b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  }
};

struct PrefixNode {
  using Children = std::map<std::vector<int32_t>, std::unique_ptr<PrefixNode>, TokensLess>;

  PrefixNode* parent = nullptr;  // null: a root
  int32_t page = -1;
  // Of the layers that keep only a chunk; -1 where it has been given up, or there are no such
  // layers.
  int32_t chunk_page = -1;
  Children children;
  Children::iterator self;  // among the parent's children
  std::string salt;         // of a root
};

// A node of which the first `tokens` are as asked.
struct PrefixMatch {
  PrefixNode* node = nullptr;
  int64_t tokens = 0;
};

class PrefixIndex {
 public:
  PrefixIndex(int64_t pages, int64_t chunk_pages);

  // Null when nothing is known under this salt.
  PrefixNode* Root(const std::string& salt) const;
  PrefixNode* MakeRoot(const std::string& salt);

  static PrefixNode* Child(const PrefixNode* parent, TokenSpan tokens);
  // The child that begins with most of `tokens`; its node is null when none begins with the first.
  static PrefixMatch LongestMatch(const PrefixNode* parent, TokenSpan tokens);

  PrefixNode* Insert(PrefixNode* parent, TokenSpan tokens, int32_t page);
  void SetChunkPage(PrefixNode* node, int32_t chunk_page);  // -1: given up
  // The node must be a leaf; roots go with their last child.
  void Erase(PrefixNode* node);

  // Null for pages that are in no node.
  PrefixNode* OfPage(int32_t page) const { return of_page_[static_cast<size_t>(page)]; }
  PrefixNode* OfChunkPage(int32_t page) const { return of_chunk_page_[static_cast<size_t>(page)]; }

 private:
  std::map<std::string, std::unique_ptr<PrefixNode>> roots_;
  std::vector<PrefixNode*> of_page_;
  std::vector<PrefixNode*> of_chunk_page_;
};

}  // namespace trireme
