#include "runtime/text/tools/tool_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace trireme {
namespace {

struct Case {
  const char* what;
  std::string text;
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;
};

const std::vector<std::string> kTools = {"weather", "add", "get.time", "f-2"};

std::vector<Case> Cases() {
  return {
      {"plain text", "The sun is warm.", "The sun is warm.", {}},
      {"nothing", "", "", {}},
      {"JSON",
       R"({"name": "weather", "parameters": {"city": "Paris"}})",
       "",
       {{"weather", R"({"city":"Paris"})"}}},
      {"arguments",
       R"( {"name":"add","arguments":{"a":1,"b":[2,{"c":"}"}]}} )",
       "",
       {{"add", R"({"a":1,"b":[2,{"c":"}"}]})"}}},
      {"arguments as text",
       R"({"name":"add","arguments":"{\"a\": 1}"})",
       "",
       {{"add", R"({"a": 1})"}}},
      {"in OpenAI's wrapping",
       R"({"type":"function","function":{"name":"add","parameters":{}}})",
       "",
       {{"add", "{}"}}},
      {"no arguments", R"({"name": "weather"})", "", {{"weather", "{}"}}},
      {"several",
       R"({"name":"add","parameters":{"a":1}}; {"name":"weather","parameters":{}})",
       "",
       {{"add", R"({"a":1})"}, {"weather", "{}"}}},
      {"a list",
       R"([{"name":"add","parameters":{"a":1}}, {"name":"weather","parameters":{}}])",
       "",
       {{"add", R"({"a":1})"}, {"weather", "{}"}}},
      {"after a mark", R"(<|python_tag|>{"name":"add","parameters":{}})", "", {{"add", "{}"}}},
      {"between marks",
       R"(<|python_start|>{"name":"add","parameters":{}}<|python_end|>{"name":"add","parameters":{}})",
       "",
       {{"add", "{}"}, {"add", "{}"}}},
      {"a function tag",
       R"(<function=weather>{"city": "Rome"}</function>)",
       "",
       {{"weather", R"({"city": "Rome"})"}}},
      {"Python",
       R"([weather(city="São Paulo", days=3), add(a=-1.5, b=[1, 'x'], c={'k': None})])",
       "",
       {{"weather", R"({"city":"São Paulo","days":3})"},
        {"add", R"({"a":-1.5,"b":[1,"x"],"c":{"k":null}})"}}},
      {"Python without arguments", "[get.time()]", "", {{"get.time", "{}"}}},
      {"Python's escapes",
       R"([weather(city='it\'s\n\x41\u00e9', ok=True, no=False,)])",
       "",
       {{"weather", R"({"city":"it's\nAé","ok":true,"no":false})"}}},
      {"Python's tuple", "[add(a=(1, 2))]", "", {{"add", R"({"a":[1,2]})"}}},
      {"text after calls",
       R"({"name":"add","parameters":{}} and so on)",
       "and so on",
       {{"add", "{}"}}},
      {"an unknown tool",
       R"({"name":"rm","parameters":{}})",
       R"({"name":"rm","parameters":{}})",
       {}},
      {"an unknown Python call", "[rm(a=1)]", "[rm(a=1)]", {}},
      {"an answer in JSON", R"({"answer": 42})", R"({"answer": 42})", {}},
      {"a citation", "[1] says so", "[1] says so", {}},
      {"a list of words", "[weather, add]", "[weather, add]", {}},
      {"positional arguments", "[add(1, 2)]", "[add(1, 2)]", {}},
      {"the same argument twice", "[add(a=1, a=2)]", "[add(a=1, a=2)]", {}},
      {"cut off", R"({"name":"add","parameters":{"a":)", R"({"name":"add","parameters":{"a":)", {}},
      {"Python cut off", "[add(a=1", "[add(a=1", {}},
      {"bad JSON", R"({"name":"add","parameters":{a}})", R"({"name":"add","parameters":{a}})", {}},
      {"arguments that are none",
       R"({"name":"add","parameters":[1]})",
       R"({"name":"add","parameters":[1]})",
       {}},
      {"a tag left open", "<function=add", "<function=add", {}},
      {"another tag", "<function>", "<function>", {}},
      {"text before",
       R"(Sure: {"name":"add","parameters":{}})",
       R"(Sure: {"name":"add","parameters":{}})",
       {}},
      {"blanks alone", " \n ", " \n ", {}},
  };
}

void Check(const Case& expected, const std::vector<std::string>& pieces) {
  ToolCallParser parser(kTools);
  ToolCallParser::Found all;
  const auto add = [&all](const ToolCallParser::Found& found) {
    all.content += found.content;
    all.calls.insert(all.calls.end(), found.calls.begin(), found.calls.end());
  };
  for (const std::string& piece : pieces) add(parser.Push(piece));
  add(parser.Finish());
  EXPECT_EQ(all.content, expected.content);
  ASSERT_EQ(all.calls.size(), expected.calls.size());
  for (size_t i = 0; i < all.calls.size(); ++i) {
    EXPECT_EQ(all.calls[i].name, expected.calls[i].first);
    EXPECT_EQ(all.calls[i].arguments_json, expected.calls[i].second);
  }
}

TEST(ToolCallsTest, AreFoundInEachForm) {
  for (const Case& expected : Cases()) {
    SCOPED_TRACE(expected.what);
    Check(expected, {expected.text});
  }
}

TEST(ToolCallsTest, AreTheSameHoweverTheTextIsCut) {
  for (const Case& expected : Cases()) {
    SCOPED_TRACE(expected.what);
    std::vector<std::string> bytes;
    for (const char c : expected.text) bytes.emplace_back(1, c);
    Check(expected, bytes);
    for (size_t cut = 1; cut < expected.text.size(); ++cut) {
      Check(expected, {expected.text.substr(0, cut), expected.text.substr(cut)});
    }
  }
}

TEST(ToolCallsTest, TextIsGivenOnAsSoonAsItCanBeNoCall) {
  ToolCallParser parser(kTools);
  EXPECT_EQ(parser.Push("{").content, "");
  EXPECT_EQ(parser.Push("\"na").content, "");
  EXPECT_EQ(parser.Push("tion\"").content, "{\"nation\"");
  EXPECT_EQ(parser.Push(": 1").content, ": 1");
}

TEST(ToolCallsTest, ACallComesOnceItIsWhole) {
  ToolCallParser parser(kTools);
  EXPECT_TRUE(parser.Push("[add(a=1)").calls.size() == 1);
  EXPECT_TRUE(parser.Push(", weather(").calls.empty());
  EXPECT_EQ(parser.Push(")]").calls.size(), 1u);
  EXPECT_EQ(parser.Finish().content, "");
}

// What is long and ends no bracket is looked at only at the end.
std::string WholeContent(ToolCallParser& parser, const std::string& text) {
  const std::string begin = parser.Push(text).content;
  return begin + parser.Finish().content;
}

TEST(ToolCallsTest, DepthAndLengthAreBounded) {
  for (const std::string& open : {std::string("["), std::string("{\"a\":")}) {
    ToolCallParser parser(kTools);
    std::string text = "[add(a=";
    for (int i = 0; i < 100'000; ++i) text += open;
    EXPECT_EQ(WholeContent(parser, text), text);
  }
  ToolCallParser json(kTools);
  const std::string deep = R"({"name":"add","parameters":)" + std::string(100'000, '[');
  EXPECT_EQ(WholeContent(json, deep), deep);
  ToolCallParser endless(kTools);
  std::string given = endless.Push("[add(a=\"").content;
  for (int i = 0; i < 300; ++i) given += endless.Push(std::string(1'024, 'x')).content;
  EXPECT_GT(given.size(), 256u << 10);
}

}  // namespace
}  // namespace trireme
