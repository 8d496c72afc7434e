#include "runtime/engine/page_accounts.h"

#include "runtime/base/check.h"

namespace trireme {

PageAccounts::PageAccounts(int64_t pages)
    : pages_(pages), held_(static_cast<size_t>(pages), false) {
  for (int64_t page = pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

std::optional<std::vector<int32_t>> PageAccounts::Take(int64_t count) {
  if (count > free()) return std::nullopt;
  std::vector<int32_t> taken;
  for (int64_t i = 0; i < count; ++i) {
    taken.push_back(free_.back());
    free_.pop_back();
    held_[static_cast<size_t>(taken.back())] = true;
  }
  return taken;
}

void PageAccounts::Return(const std::vector<int32_t>& pages) {
  for (const int32_t page : pages) {
    TRI_CHECK(held_[static_cast<size_t>(page)]) << "INV-PAGE-1: page " << page << " returned twice";
    held_[static_cast<size_t>(page)] = false;
    free_.push_back(page);
  }
}

}  // namespace trireme
