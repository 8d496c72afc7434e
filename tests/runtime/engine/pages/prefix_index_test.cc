#include "runtime/engine/pages/prefix_index.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

using Tokens = std::vector<int32_t>;

TEST(PrefixIndex, FindsATextByItsTokensFromTheBeginning) {
  PrefixIndex index(8, 0);
  PrefixNode* first = index.Insert(index.MakeRoot(""), Tokens{1, 2}, 5);
  PrefixNode* second = index.Insert(first, Tokens{3, 4}, 6);
  EXPECT_EQ(PrefixIndex::Child(index.Root(""), Tokens{1, 2}), first);
  EXPECT_EQ(PrefixIndex::Child(first, Tokens{3, 4}), second);
  // The same tokens after others are another text.
  EXPECT_EQ(PrefixIndex::Child(index.Root(""), Tokens{3, 4}), nullptr);
  EXPECT_EQ(index.OfPage(6), second);
}

TEST(PrefixIndex, ApartBySalt) {
  PrefixIndex index(8, 0);
  index.Insert(index.MakeRoot("a"), Tokens{1}, 0);
  EXPECT_EQ(index.Root("b"), nullptr);
  EXPECT_NE(index.Root("a"), nullptr);
}

TEST(PrefixIndex, FindsTheChildThatBeginsMostAlike) {
  PrefixIndex index(8, 0);
  PrefixNode* root = index.MakeRoot("");
  PrefixNode* low = index.Insert(root, Tokens{1, 2, 3, 4}, 0);
  PrefixNode* high = index.Insert(root, Tokens{1, 2, 7, 8}, 1);
  index.Insert(root, Tokens{9, 9, 9, 9}, 2);
  const auto best = [&](const Tokens& tokens) { return PrefixIndex::LongestMatch(root, tokens); };
  EXPECT_EQ(best({1, 2, 3, 9}).node, low);
  EXPECT_EQ(best({1, 2, 3, 9}).tokens, 3);
  EXPECT_EQ(best({1, 2, 7}).node, high);
  EXPECT_EQ(best({1, 2, 7}).tokens, 3);
  EXPECT_EQ(best({1, 2, 5}).tokens, 2);
  EXPECT_EQ(best({4}).node, nullptr);
  EXPECT_EQ(PrefixIndex::LongestMatch(nullptr, Tokens{1}).node, nullptr);
}

TEST(PrefixIndex, ForgetsARootWithItsLastChild) {
  PrefixIndex index(8, 8);
  PrefixNode* node = index.Insert(index.MakeRoot("a"), Tokens{1}, 3);
  index.SetChunkPage(node, 4);
  EXPECT_EQ(index.OfChunkPage(4), node);
  index.Erase(node);
  EXPECT_EQ(index.Root("a"), nullptr);
  EXPECT_EQ(index.OfPage(3), nullptr);
  EXPECT_EQ(index.OfChunkPage(4), nullptr);
}

TEST(PrefixIndexDeathTest, RefusesToForgetWhatOthersContinue) {
  PrefixIndex index(8, 0);
  PrefixNode* first = index.Insert(index.MakeRoot(""), Tokens{1}, 0);
  index.Insert(first, Tokens{2}, 1);
  EXPECT_DEATH(index.Erase(first), "INV-PREFIX-1");
}

}  // namespace
}  // namespace trireme
