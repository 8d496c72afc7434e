#include "runtime/engine/pages/page_accounts.h"

#include "runtime/base/check.h"

namespace trireme {

PageAccounts::PageAccounts(int64_t pages) : accounts_(static_cast<size_t>(pages)) {
  for (int64_t page = pages - 1; page >= 0; --page) free_.push_back(static_cast<int32_t>(page));
}

int32_t PageAccounts::Take() {
  TRI_CHECK(!free_.empty()) << "no free page";
  const int32_t page = free_.back();
  free_.pop_back();
  accounts_[static_cast<size_t>(page)].holders = 1;
  return page;
}

void PageAccounts::Hold(int32_t page) {
  Account& account = accounts_[static_cast<size_t>(page)];
  TRI_CHECK(account.holders > 0 || account.kept) << "INV-PAGE-1: free page " << page << " held";
  if (account.holders++ == 0) idle_.erase(account.idle);
}

void PageAccounts::Release(int32_t page) {
  Account& account = accounts_[static_cast<size_t>(page)];
  TRI_CHECK(account.holders > 0) << "INV-PAGE-1: page " << page << " released twice";
  if (--account.holders > 0) return;
  if (account.kept) {
    account.idle = idle_.insert(idle_.end(), page);
  } else {
    free_.push_back(page);
  }
}

void PageAccounts::Keep(int32_t page) {
  Account& account = accounts_[static_cast<size_t>(page)];
  TRI_CHECK(account.holders > 0) << "INV-PAGE-1: page " << page << " kept by nobody";
  account.kept = true;
}

void PageAccounts::Forget(int32_t page) {
  Account& account = accounts_[static_cast<size_t>(page)];
  TRI_CHECK(account.kept) << "INV-PAGE-1: page " << page << " is not kept";
  account.kept = false;
  if (account.holders > 0) return;
  idle_.erase(account.idle);
  free_.push_back(page);
}

int32_t PageAccounts::LongestIdle() const {
  TRI_CHECK(!idle_.empty()) << "no idle page";
  return idle_.front();
}

}  // namespace trireme
