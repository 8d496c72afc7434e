// The KV cache as the scheduler sees it: which pages a sequence holds, in both kinds of layers, and
// which of them others hold too.
//
// Layers of the first kind keep every position. Layers of chunked attention (Llama 4) keep only the
// chunk that a sequence is in, in pages of their own; a sequence that enters its next chunk lets
// the last one's pages go.
//
// What a page holds depends on all tokens from position 0 to its end and on nothing else (DESIGN:
// numerics), so whoever has the same tokens may use it: a full page as it is, the beginning of one
// by a copy. To go on at position p a sequence needs all pages of the first kind up to p, and of
// the second those from where p's chunk begins.
//
// INV-KV-1: a page that the index knows is written no more, but for a tail's behind what is known.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/engine/pages/page_accounts.h"
#include "runtime/engine/pages/prefix_index.h"

namespace trireme {

struct KvShape {
  int64_t pages = 0;
  int64_t chunk = 0;  // positions of a chunk of attention; 0: the model has no chunked layers
  int64_t chunk_pages = 0;
  int64_t page_tokens = 0;
  // Find what is there already. Off where pages do not divide a chunk.
  bool prefix_cache = true;
};

// What one sequence holds.
struct SequencePages {
  std::string salt;  // shares with sequences of the same salt only
  std::vector<int32_t> pages;
  int64_t chunk_start = 0;  // the position at which chunk_pages begin
  std::vector<int32_t> chunk_pages;
  std::vector<PrefixNode*> nodes;  // of its full pages that the index knows, from the first on
};

// The beginning of a page that can be copied.
struct KvCopy {
  int64_t tokens = 0;  // 0: there is none
  int32_t page = -1;
  int32_t chunk_page = -1;
};

class KvAccounts {
 public:
  explicit KvAccounts(const KvShape& shape);

  bool shares() const { return shape_.prefix_cache; }
  const PageAccounts& pages() const { return pages_; }
  const PageAccounts& chunk_pages() const { return chunk_pages_; }

  int64_t PagesFor(int64_t positions) const;
  // Positions from `first` on before the next chunk begins.
  int64_t LeftOfChunk(int64_t first) const;

  // Lets the sequence hold, from `computed` on (a page's beginning, all before it known to the
  // index), full pages that are there already, as far as `limit`. Where it can go on.
  int64_t Share(SequencePages& sequence, TokenSpan tokens, int64_t computed, int64_t limit);
  // The page of which a copy would take the sequence furthest from `computed` (as above) within its
  // next page, held until Unpin or EndPlan so that nothing else is put in it.
  KvCopy PinCopy(const SequencePages& sequence, TokenSpan tokens, int64_t computed, int64_t limit);
  void Unpin(const KvCopy& copy);

  // How many positions from `first` on (within a chunk) the pages held and available would take.
  // Lets go of the chunk before, if `first` begins one.
  int64_t Room(SequencePages& sequence, int64_t first);
  // Takes what is missing for positions up to `end`, no more than Room said.
  void Take(SequencePages& sequence, int64_t end);
  void Release(SequencePages& sequence);

  // Tells the index of the full pages of the first `computed` tokens, and with `tail` of the page
  // that they end in. Where the index has another page of the same tokens, the sequence holds that
  // one from then on: only when no plan that names its own is still being made.
  void Register(SequencePages& sequence, TokenSpan tokens, int64_t computed, bool tail);

  // A plan is made: what was held for it alone is let go.
  void EndPlan();

  // Pages up to `positions` that others hold already.
  int64_t HeldByOthers(const std::string& salt, TokenSpan tokens, int64_t positions) const;
  // The node that the sequence's known pages end in; null: none is known.
  PrefixNode* LastNode(const SequencePages& sequence) const;

 private:
  int64_t ChunkStart(int64_t position) const;
  int32_t TakePage();
  int32_t TakeChunkPage();
  void HoldFound(SequencePages& sequence, std::span<PrefixNode* const> found, int64_t computed);
  void ReleaseChunk(SequencePages& sequence);
  void EraseTail(int32_t page);
  void SwapFor(PrefixNode* node, SequencePages& sequence, size_t at);

  KvShape shape_;
  PageAccounts pages_;
  PageAccounts chunk_pages_;
  PrefixIndex index_;
  std::vector<KvCopy> pinned_;
};

}  // namespace trireme
