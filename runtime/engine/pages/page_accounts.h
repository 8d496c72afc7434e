// Who holds which KV page of one pool: counts and ids, no bytes.
//
// Several sequences may hold a page (they share what is in it), and a page may be kept: when the
// last of its holders lets go, it stays as it is, idle, for whoever comes with the same tokens,
// until its room is needed.
//
// INV-PAGE-1: every page is exactly one of free, held (by one or more) or idle.
// INV-PAGE-2: a page is handed on when a plan is made, not when a result comes: plans run in the
// order in which they were made, so what an earlier one writes or reads is done by then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

namespace trireme {

class PageAccounts {
 public:
  explicit PageAccounts(int64_t pages);

  int64_t pages() const { return static_cast<int64_t>(accounts_.size()); }
  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  int64_t idle() const { return static_cast<int64_t>(idle_.size()); }
  // What can be taken, idle ones being given up.
  int64_t available() const { return free() + idle(); }
  bool held(int32_t page) const { return accounts_[static_cast<size_t>(page)].holders > 0; }

  // A free page, held once from now on. There must be one.
  int32_t Take();
  void Hold(int32_t page);
  void Release(int32_t page);

  void Keep(int32_t page);
  void Forget(int32_t page);
  // The page that has been idle longest. There must be one.
  int32_t LongestIdle() const;

 private:
  struct Account {
    int32_t holders = 0;
    bool kept = false;
    std::list<int32_t>::iterator idle;  // valid while kept and not held
  };

  std::vector<Account> accounts_;  // by page
  std::vector<int32_t> free_;      // lowest last, so that pages are handed out from 0
  std::list<int32_t> idle_;        // longest idle first
};

}  // namespace trireme
