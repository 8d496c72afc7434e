#include "runtime/sampling/grammar/ebnf/schema_grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/runtime/sampling/grammar/vocabularies.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

struct SchemaCase {
  const char* schema;
  std::vector<const char*> accepted;
  std::vector<const char*> rejected;
};

const std::vector<SchemaCase>& Cases() {
  static const std::vector<SchemaCase> cases = {
      {R"({"type":"object"})",
       {"{}", R"({"a":1})", "{\n  \"a\": [1, {}],\n  \"b\": null\n}"},
       {"[]", "1", R"({"a")", R"({a:1})", "{,}", R"({"a":1,})"}},
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"},)"
       R"("c":{"type":"boolean"}},"required":["b"]})",
       {R"({"b":null})", R"({"a":1,"b":null})", R"({"b": null, "c": true})",
        R"({"a":-7,"b":null,"c":false})"},
       {"{}", R"({"a":1})", R"({"a":1,"c":true})", R"({"b":null,"a":1})", R"({"b":null,"d":1})",
        R"({"b":null,})", R"({,"b":null})", R"({"b":null,"b":null})"}},
      {R"({"properties":{"a":true},"additionalProperties":true})",
       {"{}", R"({"a":{"x":[]}})"},
       {R"({"b":1})"}},
      {R"({"type":"object","additionalProperties":{"type":"boolean"},"minProperties":1,)"
       R"("maxProperties":2})",
       {R"({"x":true})", R"({"x":true,"":false})"},
       {"{}", R"({"x":1})", R"({"a":true,"b":true,"c":true})"}},
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1, 2]", "[1,2,3]"},
       {"[]", "[1,2,3,4]", "[null]", "[1,]"}},
      {R"({"type":"array","prefixItems":[{"const":"a"},{"type":"null"}],"items":{"type":"boolean"},)"
       R"("minItems":1})",
       {R"(["a"])", R"(["a",null])", R"(["a",null,true,false])"},
       {"[]", "[null]", R"(["a",true])"}},
      {R"({"type":"string"})",
       {R"("")", R"("aé€😀")", R"("\n\u00e9\ud83d\ude00\"\\")"},
       {"\"\n\"", R"("\ud83d")", R"("\ude00")", R"("\x")", "\"\xED\xA0\x80\"", "\"\xFF\"",
        "\"\xC3\""}},
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("aé")", R"("\n\ud83d\ude00")", R"("abc")"},
       {R"("a")", R"("abcd")", R"("\ud83d\ude00")", "\"a\tb\""}},
      {R"({"type":"string","maxLength":0})", {R"("")"}, {R"("a")"}},
      {R"({"type":"string","pattern":"^a+\"\\d$"})", {R"("aa\"7")"}, {R"("a"7")", R"("a7")"}},
      {R"({"type":"string","pattern":"b"})", {R"("b")", R"("abc\n")"}, {R"("a")"}},
      {R"({"type":"string","format":"date"})",
       {R"("2024-12-31")", R"("1999-02-28")"},
       {R"("2023-02-30")", R"("2024-04-31")", R"("2024-13-01")", R"("24-01-01")"}},
      {R"({"enum":["a",1,{"k":[null]},"é\n"]})",
       {R"("a")", "1", R"({"k":[null]})", R"("é\n")"},
       {"2", R"("b")"}},
      {R"({"enum":["a",1,null],"type":"string"})", {R"("a")"}, {"1", "null"}},
      {R"({"type":["integer","null"],"maximum":3})", {"3", "-12", "null"}, {"4", R"("a")"}},
      {R"({"anyOf":[{"type":"null"},{"allOf":[{"const":"x"}]}]})", {"null", R"("x")"}, {"1"}},
      {R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":)"
       R"({"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["next"]}}})",
       {R"({"next":null})", R"({"next":{"next":null}})"},
       {"null", R"({"next":1})"}},
      {R"({"oneOf":[{"type":"object","properties":{"k":{"const":1}},"required":["k"]},)"
       R"({"type":"object","properties":{"k":{"const":2}},"required":["k"]}]})",
       {R"({"k":1})", R"({"k":2})"},
       {R"({"k":3})"}},
  };
  return cases;
}

TEST(SchemaGrammarTest, TakesWhatTheSchemaTakesAndNothingElse) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  for (const SchemaCase& c : Cases()) {
    SCOPED_TRACE(c.schema);
    const auto grammar = compiler->Compile(SchemaSpec(c.schema));
    ASSERT_OK(grammar);
    for (const char* text : c.accepted) EXPECT_TRUE(Matches(*grammar, text)) << text;
    for (const char* text : c.rejected) EXPECT_FALSE(Matches(*grammar, text)) << text;
  }
}

TEST(SchemaGrammarTest, RefusesWhatItWouldNotEnforceByNameAndPlace) {
  const std::vector<std::pair<const char*, const char*>> refused = {
      {R"({"type":"array","uniqueItems":true})", "#/uniqueItems"},
      {R"({"type":"object","properties":{"a/b":{"not":{}}}})", "#/properties/a~1b/not"},
      {R"({"if":true})", "#/if"},
      {R"({"type":"object","patternProperties":{}})", "#/patternProperties"},
      {R"({"type":"object","propertyNames":{}})", "#/propertyNames"},
      {R"({"type":"object","dependentRequired":{}})", "#/dependentRequired"},
      {R"({"type":"object","unevaluatedProperties":false})", "#/unevaluatedProperties"},
      {R"({"type":"array","contains":{}})", "#/contains"},
      {R"({"type":"integer","multipleOf":3})", "#/multipleOf"},
      {R"({"type":"string","format":"iri"})", "#/format"},
      {R"({"type":"string","minimum":3})", "#/minimum"},
      {R"({"minLength":3})", "#/minLength"},
      {R"({"type":"string","pattern":"a","maxLength":3})", "only one"},
      {R"x({"type":"string","pattern":"(?=a)"})x", "look-around"},
      {R"({"anyOf":[{"type":"null"}],"type":"object"})", "#/type"},
      {R"({"allOf":[{},{}]})", "#/allOf"},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "#/oneOf"},
      {R"({"$ref":"#/$defs/a","maxLength":3,"$defs":{"a":{}}})", "#/maxLength"},
      {R"({"$ref":"#/$defs/b"})", "no such place"},
      {R"({"$ref":"other.json"})", "same schema"},
      {R"({"$ref":"#"})", "back to itself"},
      {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "no finite"},
      {R"({"type":"object","required":["a"]})", "#/required"},
      {R"({"type":"text"})", "#/type"},
      {R"({"typ":"string"})", "#/typ"},
      {R"({"enum":[]})", "#/enum"},
      {R"({"enum":[1],"type":"string"})", "no value"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "no number"},
      {R"({"type":"string","minLength":5,"maxLength":4})", "maxLength"},
      {R"({"type":"string","maxLength":129})", "#/maxLength"},
      {R"({"type":"string","maxLength":-1})", "#/maxLength"},
      {R"(false)", "nothing meets"},
      {R"([])", "must be an object"},
      {R"({"type":"null","type":"string"})", "twice"},
      {R"({"type")", "not valid JSON"},
  };
  for (const auto& [schema, what] : refused) {
    EXPECT_THAT(SchemaToEbnf(schema), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)))
        << schema;
  }
}

TEST(SchemaGrammarTest, IgnoresWhatOnlyDescribes) {
  EXPECT_OK(SchemaToEbnf(
      R"({"$schema":"x","$id":"y","title":"t","description":"d","default":1,"examples":[],)"
      R"("$comment":"c","deprecated":true,"readOnly":true,"type":"integer","$defs":{"a":5}})"));
}

}  // namespace
}  // namespace trireme
