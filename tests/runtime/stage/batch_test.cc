#include "runtime/stage/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

constexpr BatchLimits kLimits{.rows = 8,
                              .vocabulary = 40,
                              .max_positions = 64,
                              .pages = 5,
                              .chunk = 32,
                              .chunk_pages = 4,
                              .page_tokens = 16};

// Two sequences, and a sample with something of everything.
StepPlan GoodPlan() {
  StepPlan plan;
  plan.step = 7;
  plan.tokens = {1, 2, 39};
  plan.positions = {16, 17, 0};
  plan.span_offsets = {0, 2, 3};
  plan.page_offsets = {0, 2, 3};
  plan.pages = {0, 1, 4};
  plan.chunk_page_offsets = {0, 2, 3};
  plan.chunk_pages = {0, 1, 3};
  plan.page_copies = {0, 2};
  plan.chunk_page_copies = {3, 2};
  plan.bias_tokens = {0, 39};
  plan.bias_values = {-std::numeric_limits<float>::infinity(), 100};
  plan.history_tokens = {39};
  plan.history_counts = {0};
  plan.masks = {~0U, 0xff, 0, 0};
  plan.samples = {{.row = 1}, {.row = 2, .biases = {0, 2}, .history = {0, 1}, .mask = 1}};
  return plan;
}

TEST(CheckPlan, AcceptsAPlanThatUsesEverything) { EXPECT_OK(CheckPlan(GoodPlan(), kLimits)); }

TEST(CheckPlan, WantsAsManyLateMasksAsThePlanSays) {
  StepPlan plan = GoodPlan();
  plan.late_masks = 2;
  EXPECT_OK(CheckLateMasks(plan, kLimits));
  plan.masks.pop_back();
  EXPECT_OK(CheckPlan(plan, kLimits));
  EXPECT_THAT(CheckLateMasks(plan, kLimits),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected 4 words of masks")));
}

TEST(CheckPlan, AcceptsSeveralSamplesOfOneRow) {
  StepPlan plan = GoodPlan();
  plan.samples = {{.row = 2, .sequence = 0}, {.row = 2, .sequence = 1}};
  EXPECT_OK(CheckPlan(plan, kLimits));
}

struct Fault {
  std::string name;
  std::function<void(StepPlan&)> make;
  std::string message;
};
class RefusesPlans : public testing::TestWithParam<Fault> {};

TEST_P(RefusesPlans, NamingTheStepAndTheFault) {
  StepPlan plan = GoodPlan();
  GetParam().make(plan);
  EXPECT_THAT(CheckPlan(plan, kLimits), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 HasSubstr("step plan 7: " + GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RefusesPlans,
    testing::Values(
        Fault{"NoRows", [](StepPlan& p) { p.tokens.clear(); }, "expected 1 to 8 rows"},
        Fault{"TooManyRows", [](StepPlan& p) { p.tokens.resize(9); }, "expected 1 to 8 rows"},
        Fault{"Token", [](StepPlan& p) { p.tokens[0] = 40; }, "token out of range"},
        Fault{"NegativeToken", [](StepPlan& p) { p.tokens[0] = -1; }, "token out of range"},
        Fault{"Page", [](StepPlan& p) { p.pages[0] = 5; }, "page out of range"},
        Fault{"Offsets", [](StepPlan& p) { p.span_offsets[1] = 4; }, "offsets"},
        Fault{"EmptySpan", [](StepPlan& p) { p.span_offsets[1] = 0; }, "a span has no rows"},
        Fault{"Positions", [](StepPlan& p) { p.positions[1] = 18; }, "positions"},
        Fault{"LatePosition",
              [](StepPlan& p) {
                p.positions = {63, 64, 0};
              },
              "positions"},
        Fault{"FewPages",
              [](StepPlan& p) {
                p.positions = {31, 32, 0};
              },
              "pages do not cover"},
        Fault{"CrossesChunk",
              [](StepPlan& p) {
                p.positions = {31, 32, 0};
                p.pages = {0, 1, 2, 4};
                p.page_offsets = {0, 3, 4};
              },
              "a span crosses"},
        Fault{"ChunkPage", [](StepPlan& p) { p.chunk_pages[0] = 4; }, "page of a chunk"},
        Fault{"NoChunkPages", [](StepPlan& p) { p.chunk_page_offsets.clear(); }, "offsets of the"},
        Fault{"Copy",
              [](StepPlan& p) {
                p.page_copies = {0, 5};
              },
              "page to copy"},
        Fault{"HalfACopy", [](StepPlan& p) { p.page_copies = {0}; }, "page to copy"},
        Fault{"ChunkCopy",
              [](StepPlan& p) {
                p.chunk_page_copies = {4, 0};
              },
              "page to copy"}),
    [](const auto& fault) { return fault.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Samples, RefusesPlans,
    testing::Values(
        Fault{"Row", [](StepPlan& p) { p.samples[0].row = 3; }, "sample row"},
        Fault{"Target", [](StepPlan& p) { p.samples[0].target = 40; }, "sample row"},
        Fault{"TopTokens", [](StepPlan& p) { p.samples[0].num_logprobs = 41; }, "sample row"},
        Fault{"Biases",
              [](StepPlan& p) {
                p.samples[1].biases = {1, 2};
              },
              "sample names biases"},
        Fault{"NegativeBiases",
              [](StepPlan& p) {
                p.samples[1].biases = {-1, 1};
              },
              "sample names biases"},
        Fault{"OverflowingBiases",
              [](StepPlan& p) {
                p.samples[1].biases = {1, std::numeric_limits<int32_t>::max()};
              },
              "sample names biases"},
        Fault{"History",
              [](StepPlan& p) {
                p.samples[1].history = {0, 2};
              },
              "sample names biases, a history"},
        Fault{"Mask", [](StepPlan& p) { p.samples[1].mask = 2; }, "sample names biases"},
        Fault{"NegativeMask", [](StepPlan& p) { p.samples[1].mask = -2; }, "sample names biases"},
        Fault{"BiasedToken", [](StepPlan& p) { p.bias_tokens[0] = 40; }, "biased token"},
        Fault{"BiasWithoutValue", [](StepPlan& p) { p.bias_values.pop_back(); }, "biased token"},
        Fault{"BiasNan", [](StepPlan& p) { p.bias_values[0] = std::nanf(""); }, "a bias is NaN"},
        Fault{"BiasInfinite",
              [](StepPlan& p) { p.bias_values[0] = std::numeric_limits<float>::infinity(); },
              "a bias is NaN or infinite"},
        Fault{"HistoryToken", [](StepPlan& p) { p.history_tokens[0] = -1; }, "token or count"},
        Fault{"HistoryCount", [](StepPlan& p) { p.history_counts[0] = -1; }, "token or count"},
        Fault{"FewerThanNoMasks", [](StepPlan& p) { p.late_masks = -1; }, "fewer than no masks"},
        Fault{"LateMaskBeyond",
              [](StepPlan& p) {
                p.late_masks = 1;
                p.samples[0].mask = 1;
              },
              "sample names biases, a history or a mask"},

        Fault{"HalfAMask", [](StepPlan& p) { p.masks.pop_back(); }, "masks are not whole"},
        Fault{"Temperature", [](StepPlan& p) { p.samples[0].params.temperature = std::nanf(""); },
              "temperature must be"},
        Fault{"Repetition", [](StepPlan& p) { p.samples[0].params.repetition_penalty = 0; },
              "repetition_penalty must be"}),
    [](const auto& fault) { return fault.param.name; });

TEST(CheckPlan, RefusesChunkPagesOfAModelWithoutChunks) {
  BatchLimits limits = kLimits;
  limits.chunk = 0;
  EXPECT_THAT(CheckPlan(GoodPlan(), limits),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("of the chunk's pages")));
}

}  // namespace
}  // namespace trireme
