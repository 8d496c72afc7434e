#include "runtime/engine/pages/page_accounts.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(PageAccounts, APageIsFreeAgainWhenTheLastHolderLetsGo) {
  PageAccounts accounts(2);
  const int32_t page = accounts.Take();
  accounts.Hold(page);
  accounts.Release(page);
  EXPECT_TRUE(accounts.held(page));
  EXPECT_EQ(accounts.free(), 1);
  accounts.Release(page);
  EXPECT_FALSE(accounts.held(page));
  EXPECT_EQ(accounts.free(), 2);
}

TEST(PageAccounts, AKeptPageIsIdleUntilItIsForgottenOrHeldAgain) {
  PageAccounts accounts(2);
  const int32_t page = accounts.Take();
  accounts.Keep(page);
  accounts.Release(page);
  EXPECT_EQ(accounts.free(), 1);
  EXPECT_EQ(accounts.idle(), 1);
  EXPECT_EQ(accounts.available(), 2);
  accounts.Hold(page);
  EXPECT_EQ(accounts.idle(), 0);
  accounts.Release(page);
  accounts.Forget(page);
  EXPECT_EQ(accounts.free(), 2);
  EXPECT_EQ(accounts.idle(), 0);
}

TEST(PageAccounts, ForgettingAHeldPageTakesItFromNobody) {
  PageAccounts accounts(1);
  const int32_t page = accounts.Take();
  accounts.Keep(page);
  accounts.Forget(page);
  EXPECT_TRUE(accounts.held(page));
  accounts.Release(page);
  EXPECT_EQ(accounts.free(), 1);
}

TEST(PageAccounts, NamesThePageThatHasBeenIdleLongest) {
  PageAccounts accounts(3);
  const int32_t pages[] = {accounts.Take(), accounts.Take(), accounts.Take()};
  for (const int32_t page : pages) accounts.Keep(page);
  for (const int i : {1, 0, 2}) accounts.Release(pages[i]);
  EXPECT_EQ(accounts.LongestIdle(), pages[1]);
  accounts.Hold(pages[1]);
  accounts.Release(pages[1]);
  EXPECT_EQ(accounts.LongestIdle(), pages[0]);
}

TEST(PageAccountsDeathTest, RefusesToReleaseTwice) {
  PageAccounts accounts(1);
  const int32_t page = accounts.Take();
  accounts.Release(page);
  EXPECT_DEATH(accounts.Release(page), "INV-PAGE-1");
}

}  // namespace
}  // namespace trireme
