#include "launcher/request/completion_text.h"

#include <gtest/gtest.h>

#include "tests/support/byte_tokenizer.h"

namespace trireme {
namespace {

// What is shown of a completion of these bytes, piece by piece joined.
std::string Shown(const Request& request, std::string_view bytes, bool keep_special = false) {
  const ByteTokenizer tokenizer;
  CompletionText text(tokenizer, request, keep_special);
  std::string shown;
  for (const char c : bytes) {
    shown += text.Push(c == '$' ? ByteTokenizer::kEnd : static_cast<unsigned char>(c));
  }
  return shown + text.Flush();
}

TEST(CompletionTextTest, AStopTokenEndsTheTextAndIsNotPartOfIt) {
  Request request;
  request.stop_tokens = {'!'};
  EXPECT_EQ(Shown(request, "ab!"), "ab");
  EXPECT_EQ(Shown(request, "ab"), "ab");
}

TEST(CompletionTextTest, TheTextEndsBeforeAStopString) {
  Request request;
  request.stop_strings = {"END"};
  EXPECT_EQ(Shown(request, "some END"), "some ");
  EXPECT_EQ(Shown(request, "some EN"), "some EN") << "held back, and then certain";
}

TEST(CompletionTextTest, WhatMightBeAStopStringIsHeldBack) {
  const ByteTokenizer tokenizer;
  Request request;
  request.stop_strings = {"END"};
  CompletionText text(tokenizer, request, false);
  EXPECT_EQ(text.Push('E'), "");
  EXPECT_EQ(text.Push('N'), "");
  EXPECT_EQ(text.Push('T'), "ENT");
}

TEST(CompletionTextTest, NothingStopsBeforeTheFewestTokens) {
  Request request;
  request.stop_tokens = {'!'};
  request.stop_strings = {"END"};
  request.min_tokens = 4;
  EXPECT_EQ(Shown(request, "END!x"), "END!x");
  EXPECT_EQ(Shown(request, "xEND"), "xEND") << "its last token is the fourth";
  EXPECT_EQ(Shown(request, "xxxxEND"), "xxxx");
  EXPECT_EQ(Shown(request, "xxxx!"), "xxxx");
}

TEST(CompletionTextTest, SpecialTokensAreNoTextToStopStrings) {
  Request request;
  EXPECT_EQ(Shown(request, "a$b"), "ab");
  EXPECT_EQ(Shown(request, "a$b", /*keep_special=*/true), "a<end>b");
  request.stop_strings = {"ab"};
  EXPECT_EQ(Shown(request, "xa$b", /*keep_special=*/true), "x");
}

}  // namespace
}  // namespace trireme
