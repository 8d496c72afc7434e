#include "runtime/engine/pages/kv_accounts.h"

#include <limits>

#include "runtime/base/check.h"

namespace trireme {
namespace {

TokenSpan Part(TokenSpan tokens, int64_t first, int64_t count) {
  return tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
}

bool IsTail(const PrefixNode* node, int64_t page_tokens) {
  return static_cast<int64_t>(node->self->first.size()) < page_tokens;
}

}  // namespace

KvAccounts::KvAccounts(const KvShape& shape)
    : shape_(shape),
      pages_(shape.pages),
      chunk_pages_(shape.chunk_pages),
      index_(shape.pages, shape.chunk_pages) {
  if (shape.chunk % shape.page_tokens != 0) shape_.prefix_cache = false;
}

int64_t KvAccounts::PagesFor(int64_t positions) const {
  return (positions + shape_.page_tokens - 1) / shape_.page_tokens;
}

int64_t KvAccounts::ChunkStart(int64_t position) const {
  return shape_.chunk == 0 ? 0 : position / shape_.chunk * shape_.chunk;
}

int64_t KvAccounts::LeftOfChunk(int64_t first) const {
  if (shape_.chunk == 0) return std::numeric_limits<int64_t>::max();
  return shape_.chunk - first % shape_.chunk;
}

PrefixNode* KvAccounts::LastNode(const SequencePages& sequence) const {
  return sequence.nodes.empty() ? index_.Root(sequence.salt) : sequence.nodes.back();
}

int64_t KvAccounts::Share(SequencePages& sequence, TokenSpan tokens, int64_t computed,
                          int64_t limit) {
  std::vector<PrefixNode*> found;
  size_t usable = 0;
  int64_t position = computed;
  int64_t hole_end = 0;  // behind the last page whose chunked layers have been given up
  for (PrefixNode* node = LastNode(sequence); position + shape_.page_tokens <= limit;) {
    node = PrefixIndex::Child(node, Part(tokens, position, shape_.page_tokens));
    if (node == nullptr) break;
    found.push_back(node);
    position += shape_.page_tokens;
    if (node->chunk_page < 0) hole_end = position;
    if (shape_.chunk == 0 || position % shape_.chunk == 0 || ChunkStart(position) >= hole_end) {
      usable = found.size();
    }
  }
  found.resize(usable);
  HoldFound(sequence, found, computed);
  return computed + static_cast<int64_t>(usable) * shape_.page_tokens;
}

void KvAccounts::HoldFound(SequencePages& sequence, std::span<PrefixNode* const> found,
                           int64_t computed) {
  if (found.empty()) return;
  TRI_CHECK_EQ(static_cast<int64_t>(sequence.pages.size()), PagesFor(computed));
  int64_t position = computed;
  const int64_t start =
      ChunkStart(computed + static_cast<int64_t>(found.size()) * shape_.page_tokens);
  if (start != sequence.chunk_start) ReleaseChunk(sequence);
  sequence.chunk_start = start;
  for (PrefixNode* node : found) {
    pages_.Hold(node->page);
    sequence.pages.push_back(node->page);
    sequence.nodes.push_back(node);
    if (shape_.chunk > 0 && position >= start) {
      chunk_pages_.Hold(node->chunk_page);
      sequence.chunk_pages.push_back(node->chunk_page);
    }
    position += shape_.page_tokens;
  }
}

KvCopy KvAccounts::PinCopy(const SequencePages& sequence, TokenSpan tokens, int64_t computed,
                           int64_t limit) {
  const int64_t window = std::min(shape_.page_tokens, limit - computed);
  if (window <= 0) return {};
  const PrefixMatch match =
      PrefixIndex::LongestMatch(LastNode(sequence), Part(tokens, computed, window));
  // A copy is cheap beside computing its tokens, but not free.
  if (match.tokens < window && match.tokens * 4 < shape_.page_tokens) return {};
  if (match.tokens == 0 || (shape_.chunk > 0 && match.node->chunk_page < 0)) return {};
  const KvCopy copy{match.tokens, match.node->page, match.node->chunk_page};
  pages_.Hold(copy.page);
  if (copy.chunk_page >= 0) chunk_pages_.Hold(copy.chunk_page);
  pinned_.push_back(copy);
  return copy;
}

void KvAccounts::Unpin(const KvCopy& copy) {
  if (copy.tokens == 0) return;
  TRI_CHECK(!pinned_.empty() && pinned_.back().page == copy.page) << "not the page pinned last";
  pages_.Release(copy.page);
  if (copy.chunk_page >= 0) chunk_pages_.Release(copy.chunk_page);
  pinned_.pop_back();
}

void KvAccounts::EndPlan() {
  while (!pinned_.empty()) Unpin(pinned_.back());
}

int64_t KvAccounts::Room(SequencePages& sequence, int64_t first) {
  const int64_t start = ChunkStart(first);
  if (start != sequence.chunk_start) {
    ReleaseChunk(sequence);
    sequence.chunk_start = start;
  }
  const auto end = [&](const std::vector<int32_t>& held, const PageAccounts& accounts) {
    return (static_cast<int64_t>(held.size()) + accounts.available()) * shape_.page_tokens;
  };
  int64_t room = end(sequence.pages, pages_) - first;
  if (shape_.chunk > 0) {
    room = std::min(
        {room, end(sequence.chunk_pages, chunk_pages_) - (first - start), LeftOfChunk(first)});
  }
  return std::max<int64_t>(room, 0);
}

void KvAccounts::Take(SequencePages& sequence, int64_t end) {
  while (static_cast<int64_t>(sequence.pages.size()) < PagesFor(end)) {
    sequence.pages.push_back(TakePage());
  }
  if (shape_.chunk == 0) return;
  while (static_cast<int64_t>(sequence.chunk_pages.size()) < PagesFor(end - sequence.chunk_start)) {
    sequence.chunk_pages.push_back(TakeChunkPage());
  }
}

int32_t KvAccounts::TakePage() {
  if (pages_.free() == 0) {
    PrefixNode* node = index_.OfPage(pages_.LongestIdle());
    if (node->chunk_page >= 0) chunk_pages_.Forget(node->chunk_page);
    pages_.Forget(node->page);
    index_.Erase(node);
  }
  return pages_.Take();
}

int32_t KvAccounts::TakeChunkPage() {
  if (chunk_pages_.free() == 0) {
    const int32_t page = chunk_pages_.LongestIdle();
    index_.SetChunkPage(index_.OfChunkPage(page), -1);
    chunk_pages_.Forget(page);
  }
  return chunk_pages_.Take();
}

void KvAccounts::ReleaseChunk(SequencePages& sequence) {
  while (!sequence.chunk_pages.empty()) {
    chunk_pages_.Release(sequence.chunk_pages.back());
    sequence.chunk_pages.pop_back();
  }
}

// Deeper pages first (INV-PREFIX-1).
void KvAccounts::Release(SequencePages& sequence) {
  ReleaseChunk(sequence);
  sequence.chunk_start = 0;
  sequence.nodes.clear();
  while (!sequence.pages.empty()) {
    pages_.Release(sequence.pages.back());
    sequence.pages.pop_back();
  }
}

// Its holder writes on in it, or gives it up.
void KvAccounts::EraseTail(int32_t page) {
  PrefixNode* node = index_.OfPage(page);
  if (node == nullptr) return;
  TRI_CHECK(IsTail(node, shape_.page_tokens)) << "INV-KV-1: page " << page << " is full";
  if (node->chunk_page >= 0) chunk_pages_.Forget(node->chunk_page);
  pages_.Forget(page);
  index_.Erase(node);
}

void KvAccounts::SwapFor(PrefixNode* node, SequencePages& sequence, size_t at) {
  pages_.Hold(node->page);
  pages_.Release(sequence.pages[at]);
  sequence.pages[at] = node->page;
}

void KvAccounts::Register(SequencePages& sequence, TokenSpan tokens, int64_t computed, bool tail) {
  if (!shape_.prefix_cache) return;
  const auto chunk_page_at = [&](int64_t position) -> int32_t* {
    if (shape_.chunk == 0 || position < sequence.chunk_start) return nullptr;
    return &sequence.chunk_pages[static_cast<size_t>((position - sequence.chunk_start) /
                                                     shape_.page_tokens)];
  };
  const auto insert = [&](int64_t position, int64_t count, int32_t page) {
    PrefixNode* parent = LastNode(sequence);
    if (parent == nullptr) parent = index_.MakeRoot(sequence.salt);
    PrefixNode* node = index_.Insert(parent, Part(tokens, position, count), page);
    pages_.Keep(page);
    if (const int32_t* chunk_page = chunk_page_at(position)) {
      index_.SetChunkPage(node, *chunk_page);
      chunk_pages_.Keep(*chunk_page);
    }
    return node;
  };
  for (;;) {
    const size_t at = sequence.nodes.size();
    const int64_t position = static_cast<int64_t>(at) * shape_.page_tokens;
    const int64_t count = std::min(shape_.page_tokens, computed - position);
    if (count <= 0 || (count < shape_.page_tokens && !tail)) return;
    PrefixNode* node = PrefixIndex::Child(LastNode(sequence), Part(tokens, position, count));
    if (count < shape_.page_tokens) {
      if (node == nullptr && index_.OfPage(sequence.pages[at]) == nullptr) {
        insert(position, count, sequence.pages[at]);
      }
      return;
    }
    EraseTail(sequence.pages[at]);
    if (node == nullptr) {
      node = insert(position, count, sequence.pages[at]);
    } else {
      SwapFor(node, sequence, at);
      if (int32_t* chunk_page = chunk_page_at(position)) {
        if (node->chunk_page < 0) {
          index_.SetChunkPage(node, *chunk_page);
          chunk_pages_.Keep(*chunk_page);
        } else {
          chunk_pages_.Hold(node->chunk_page);
          chunk_pages_.Release(*chunk_page);
          *chunk_page = node->chunk_page;
        }
      }
    }
    sequence.nodes.push_back(node);
  }
}

int64_t KvAccounts::HeldByOthers(const std::string& salt, TokenSpan tokens,
                                 int64_t positions) const {
  int64_t held = 0;
  const PrefixNode* node = index_.Root(salt);
  for (int64_t position = 0; position + shape_.page_tokens <= positions;
       position += shape_.page_tokens) {
    node = PrefixIndex::Child(node, Part(tokens, position, shape_.page_tokens));
    if (node == nullptr || !pages_.held(node->page)) return held;
    ++held;
  }
  return held;
}

}  // namespace trireme
