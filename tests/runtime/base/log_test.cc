#include "runtime/base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace trireme {
namespace {

using testing::EndsWith;
using testing::MatchesRegex;

std::string Logged(const std::string& value) {
  testing::internal::CaptureStderr();
  LogInfo("request failed", {{"request", value}});
  return testing::internal::GetCapturedStderr();
}

TEST(Log, WritesAPhraseAndFields) {
  testing::internal::CaptureStderr();
  LogWarning("group lost",
             {{"group", "a"}, {"ranks", 2}, {"share", 0.5}, {"cause", "rank 1 died"}});
  EXPECT_THAT(
      testing::internal::GetCapturedStderr(),
      MatchesRegex("W [0-9:.]+ group lost group=a ranks=2 share=0.5 cause=\"rank 1 died\"\n"));
}

TEST(Log, NothingInAFieldMakesAnotherLine) {
  std::string hostile = "a\r\nI 00:00:00.000 key accepted\x1b[2J\x7f\t";
  hostile +=
      "\xc2\x9b"
      "31m\xc2\x85";
  hostile.push_back('\0');
  const std::string line = Logged(hostile);
  EXPECT_EQ(std::ranges::count(line, '\n'), 1);
  EXPECT_EQ(line.back(), '\n');
  for (size_t i = 0; i + 1 < line.size(); ++i) {
    EXPECT_GE(static_cast<unsigned char>(line[i]), ' ') << i;
    EXPECT_LT(static_cast<unsigned char>(line[i]), 0x7f) << i;
  }
}

TEST(Log, WhatIsEscapedIsNotMistakenForWhatWasWritten) {
  EXPECT_THAT(Logged("a\nb"), EndsWith("request=a\\nb\n"));
  EXPECT_THAT(Logged("a\\nb"), EndsWith("request=\"a\\\\nb\"\n"));
  EXPECT_THAT(Logged("a\" group=b"), EndsWith("request=\"a\\\" group=b\"\n"));
}

TEST(Log, OtherWritingIsLeftReadable) {
  EXPECT_THAT(Logged("rør"), EndsWith("rør\n"));
}

}  // namespace
}  // namespace trireme
