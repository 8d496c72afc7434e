#include "runtime/engine/mask_maker.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/engine/grammar_vocabulary.h"
#include "runtime/sampling/grammar/grammar_compiler.h"
#include "runtime/step/step_plan.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

constexpr int32_t kVocabulary = ByteTokenizer::kEnd + 1;

class MaskMakerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto compiler = GrammarCompiler::Create(
        GrammarVocabularyOf(ByteTokenizer(), {ByteTokenizer::kEnd}, kVocabulary), {});
    ASSERT_OK(compiler.status());
    for (char letter = 'a'; letter <= 'z'; ++letter) {
      const auto grammar = (*compiler)->Compile({.kind = GrammarSpec::Kind::kRegex,
                                                 .text = std::string(1, letter) + "[0-9]+",
                                                 .choices = {}});
      ASSERT_OK(grammar.status());
      states_.emplace_back(*grammar);
    }
    for (GrammarState& state : states_) pointers_.push_back(&state);
    words_ = static_cast<size_t>(MaskWords(kVocabulary));
  }

  std::vector<uint32_t> MasksOneByOne() {
    std::vector<uint32_t> masks(pointers_.size() * words_);
    for (size_t i = 0; i < pointers_.size(); ++i) {
      pointers_[i]->Mask(std::span(masks).subspan(i * words_, words_));
    }
    return masks;
  }

  std::vector<GrammarState> states_;
  std::vector<GrammarState*> pointers_;
  size_t words_ = 0;
};

TEST_F(MaskMakerTest, MakesEachMaskInItsPlaceStepAfterStep) {
  MaskMaker maker;
  for (int step = 0; step < 50; ++step) {
    const std::vector<uint32_t> expected = MasksOneByOne();
    std::vector<uint32_t> masks(expected.size());
    maker.Start(pointers_, masks);
    maker.Wait();
    EXPECT_EQ(masks, expected) << step;
    const auto begin = static_cast<int32_t>('a');
    for (size_t i = 0; i < states_.size(); ++i) {
      ASSERT_TRUE(states_[i].Accept(step == 0 ? begin + static_cast<int32_t>(i) : '0' + step % 10));
    }
  }
}

TEST_F(MaskMakerTest, HasNothingToWaitForWithoutGrammars) {
  MaskMaker maker;
  maker.Wait();
  maker.Start({}, {});
  maker.Wait();
}

TEST_F(MaskMakerTest, MayBeLeftWhileMasksAreUnderWay) {
  std::vector<uint32_t> masks(pointers_.size() * words_);
  MaskMaker maker;
  maker.Start(pointers_, masks);
}

}  // namespace
}  // namespace trireme
