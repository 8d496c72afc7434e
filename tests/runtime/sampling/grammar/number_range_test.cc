#include "runtime/sampling/grammar/ebnf/number_range.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_format.h"
#include "tests/runtime/sampling/grammar/vocabularies.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

TEST(NumberRangeTest, TakesExactlyTheIntegersWithin) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    int64_t low = static_cast<int64_t>(random() % 2600) - 1300;
    int64_t high = low + static_cast<int64_t>(random() % (round % 2 == 0 ? 20 : 1500));
    const auto grammar = compiler->Compile(
        SchemaSpec(absl::StrFormat(R"({"type":"integer","minimum":%d,"maximum":%d})", low, high)));
    ASSERT_OK(grammar);
    for (int64_t value = low - 150; value <= high + 150; ++value) {
      ASSERT_EQ(Matches(*grammar, absl::StrFormat("%d", value)), low <= value && value <= high)
          << value << " in [" << low << ", " << high << "]";
    }
  }
}

TEST(NumberRangeTest, TakesOnlyDecimalsWithin) {
  const auto compiler = MakeCompiler(ByteVocabulary());
  std::mt19937 random(8);
  for (int round = 0; round < 40; ++round) {
    const int low = static_cast<int>(random() % 600) - 300;
    const int high = low + 1 + static_cast<int>(random() % (round % 2 == 0 ? 12 : 400));
    const bool exclusive = round % 3 == 0;
    const auto grammar = compiler->Compile(SchemaSpec(absl::StrFormat(
        R"({"type":"number","%s":%.2f,"%s":%.2f})", exclusive ? "exclusiveMinimum" : "minimum",
        low / 100.0, exclusive ? "exclusiveMaximum" : "maximum", high / 100.0)));
    ASSERT_OK(grammar);
    for (int value = low - 30; value <= high + 30; ++value) {
      const bool within = exclusive ? low < value && value < high : low <= value && value <= high;
      ASSERT_EQ(Matches(*grammar, absl::StrFormat("%.2f", value / 100.0)), within)
          << value << " in " << low << " to " << high;
    }
  }
}

}  // namespace
}  // namespace trireme
