#include "runtime/engine/pages/prefix_index.h"

#include "runtime/base/check.h"

namespace trireme {

PrefixIndex::PrefixIndex(int64_t pages, int64_t chunk_pages)
    : of_page_(static_cast<size_t>(pages), nullptr),
      of_chunk_page_(static_cast<size_t>(chunk_pages), nullptr) {}

PrefixNode* PrefixIndex::Root(const std::string& salt) const {
  const auto found = roots_.find(salt);
  return found == roots_.end() ? nullptr : found->second.get();
}

PrefixNode* PrefixIndex::MakeRoot(const std::string& salt) {
  std::unique_ptr<PrefixNode>& root = roots_[salt];
  if (root == nullptr) {
    root = std::make_unique<PrefixNode>();
    root->salt = salt;
  }
  return root.get();
}

PrefixNode* PrefixIndex::Child(const PrefixNode* parent, TokenSpan tokens) {
  if (parent == nullptr) return nullptr;
  const auto found = parent->children.find(tokens);
  return found == parent->children.end() ? nullptr : found->second.get();
}

PrefixMatch PrefixIndex::LongestMatch(const PrefixNode* parent, TokenSpan tokens) {
  PrefixMatch best;
  if (parent == nullptr) return best;
  const auto consider = [&](PrefixNode::Children::const_iterator child) {
    const TokenSpan theirs = child->first;
    const auto differ =
        std::mismatch(tokens.begin(), tokens.end(), theirs.begin(), theirs.end()).first;
    const int64_t alike = differ - tokens.begin();
    if (alike > best.tokens) best = {child->second.get(), alike};
  };
  // In lexicographic order, what begins most like `tokens` stands next to where they would.
  const auto next = parent->children.lower_bound(tokens);
  if (next != parent->children.end()) consider(next);
  if (next != parent->children.begin()) consider(std::prev(next));
  return best;
}

PrefixNode* PrefixIndex::Insert(PrefixNode* parent, TokenSpan tokens, int32_t page) {
  auto node = std::make_unique<PrefixNode>();
  node->parent = parent;
  node->page = page;
  const auto [place, inserted] =
      parent->children.emplace(std::vector<int32_t>(tokens.begin(), tokens.end()), std::move(node));
  TRI_CHECK(inserted) << "tokens that the prefix index has";
  place->second->self = place;
  of_page_[static_cast<size_t>(page)] = place->second.get();
  return place->second.get();
}

void PrefixIndex::SetChunkPage(PrefixNode* node, int32_t chunk_page) {
  if (node->chunk_page >= 0) of_chunk_page_[static_cast<size_t>(node->chunk_page)] = nullptr;
  node->chunk_page = chunk_page;
  if (chunk_page >= 0) of_chunk_page_[static_cast<size_t>(chunk_page)] = node;
}

void PrefixIndex::Erase(PrefixNode* node) {
  TRI_CHECK(node->children.empty()) << "INV-PREFIX-1: page " << node->page << " is not a leaf's";
  SetChunkPage(node, -1);
  of_page_[static_cast<size_t>(node->page)] = nullptr;
  PrefixNode* parent = node->parent;
  parent->children.erase(node->self);
  if (parent->parent == nullptr && parent->children.empty()) {
    const std::string salt = parent->salt;
    roots_.erase(salt);
  }
}

}  // namespace trireme
