#include "runtime/checkpoint/strict_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::HasSubstr;

TEST(StrictJsonTest, ReadsWhatIsValid) {
  const auto value = ParseStrictJson(R"({"a":[1,{"b":null}],"c":{"a":-2.5}})", "f");
  ASSERT_OK(value);
  EXPECT_EQ((*value)["c"]["a"], -2.5);
}

TEST(StrictJsonTest, RefusesDuplicateKeysOnlyWithinOneObject) {
  EXPECT_OK(ParseStrictJson(R"([{"a":1},{"a":2},{"b":{"a":1},"a":1}])", "f"));
  EXPECT_THAT(ParseStrictJson(R"({"x":{"a":1,"b":2,"a":3}})", "dir/f.json"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("dir/f.json: key \"a\" occurs twice")));
}

TEST(StrictJsonTest, RefusesDeepNesting) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_OK(ParseStrictJson(nested(32), "f"));
  EXPECT_THAT(ParseStrictJson(nested(33), "f"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("deeper than 32")));
  EXPECT_THAT(ParseStrictJson(nested(1'000'000), "f"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("deeper than 32")));
}

TEST(StrictJsonTest, SaysWhereTheGrammarBreaks) {
  EXPECT_THAT(ParseStrictJson("{\"a\":1,}", "f"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at byte 8")));
  EXPECT_THAT(ParseStrictJson("1e999", "f"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not valid JSON")));
  EXPECT_FALSE(ParseStrictJson("\"\xff\"", "f").ok());
  EXPECT_FALSE(ParseStrictJson("{} x", "f").ok());
}

TEST(StrictJsonTest, RefusesTextAndFilesOverTheLimit) {
  const TempDirectory directory;
  const std::string path = directory.Write("f.json", "[1, 2]");
  EXPECT_EQ(ReadTextFile(path, 6).value(), "[1, 2]");
  EXPECT_THAT(ReadTextFile(path, 5), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
  EXPECT_THAT(ParseStrictJson("[1, 2]", "f", {.max_bytes = 5}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 5 bytes")));
}

}  // namespace
}  // namespace trireme
