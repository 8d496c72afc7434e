// Who holds which KV page: counts and ids, no bytes.
//
// INV-PAGE-1: every page is either free or held by exactly one sequence.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace trireme {

class PageAccounts {
 public:
  explicit PageAccounts(int64_t pages);

  int64_t pages() const { return pages_; }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }

  // All or nothing.
  std::optional<std::vector<int32_t>> Take(int64_t count);
  void Return(const std::vector<int32_t>& pages);

 private:
  int64_t pages_;
  std::vector<int32_t> free_;  // lowest last, so that pages are handed out from 0
  std::vector<bool> held_;
};

}  // namespace trireme
