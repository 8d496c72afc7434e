#include "runtime/text/json_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

// Every expected text was printed by Python 3.11's json.dumps(json.loads(x), ensure_ascii=False[,
// indent=4]).
TEST(JsonText, PrintsOneLineAsPython) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"b":1,"a":[true,false,null],"c":{}})", R"({"b": 1, "a": [true, false, null], "c": {}})"},
      {R"(["\u00e9\ud83c\udf38\/\u0001\u007f\"\\\n\t\b\f\r"])",
       "[\"\u00e9\U0001F338/\\u0001\x7f\\\"\\\\\\n\\t\\b\\f\\r\"]"},
      {"[1.0,1e5,1e16,123456789012345680.0,1e-4,1e-5,0.1,-0.0,2.5e-310]",
       "[1.0, 100000.0, 1e+16, 1.2345678901234568e+17, 0.0001, 1e-05, 0.1, -0.0, 2.5e-310]"},
      {"[9999999999999998.0,18446744073709551616,-9223372036854775809,5e22,1E400]", nullptr},
      {"[9999999999999998.0,18446744073709551616,-9223372036854775809,5e22]",
       "[9999999999999998.0, 18446744073709551616, -9223372036854775809, 5e+22]"},
      {" [ ] ", "[]"},
      {"\"x\"", "\"x\""},
      {"-7", "-7"},
  };
  for (const auto& [json, expected] : cases) {
    const auto printed = ReformatJson(json, 0);
    if (expected == nullptr) {
      EXPECT_FALSE(printed.ok()) << json;
    } else {
      ASSERT_OK(printed) << json;
      EXPECT_EQ(*printed, expected);
    }
  }
}

TEST(JsonText, PrintsIndentedAsPython) {
  const auto printed = ReformatJson(R"({"z":{"a":[1,{"b":[]}],"e":{}},"s":"x"})", 4);
  ASSERT_OK(printed);
  EXPECT_EQ(*printed, R"({
    "z": {
        "a": [
            1,
            {
                "b": []
            }
        ],
        "e": {}
    },
    "s": "x"
})");
}

TEST(JsonText, RefusesWhatCannotBeShown) {
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(ReformatJson("", 0), StatusIs(kInvalid, HasSubstr("syntax error")));
  EXPECT_THAT(ReformatJson("[1,]", 0), StatusIs(kInvalid, HasSubstr("syntax error at byte")));
  EXPECT_THAT(ReformatJson("1 2", 0), StatusIs(kInvalid, HasSubstr("syntax error")));
  EXPECT_THAT(ReformatJson("\"\xff\"", 0), StatusIs(kInvalid, HasSubstr("syntax error")));
  EXPECT_THAT(ReformatJson("[NaN]", 0), StatusIs(kInvalid, HasSubstr("syntax error")));
  EXPECT_THAT(ReformatJson(R"({"a":1,"a":2})", 0), StatusIs(kInvalid, HasSubstr("\"a\" occurs")));
  EXPECT_THAT(ReformatJson(std::string(100000, '['), 4),
              StatusIs(kInvalid, HasSubstr("nests more than")));
}

TEST(JsonText, MeasuresNestingOutsideStrings) {
  EXPECT_FALSE(JsonNestsDeeperThan(R"({"a":["[[[[","\"[["]})", 2));
  EXPECT_TRUE(JsonNestsDeeperThan(R"({"a":[[]]})", 2));
  EXPECT_FALSE(JsonNestsDeeperThan("[][][][]", 1));
}

}  // namespace
}  // namespace trireme
