#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <vector>

#include "parallel/shards/shard_writer.h"
#include "parallel/shards/verify.h"
#include "runtime/model/memory_plan.h"
#include "runtime/model/weights.h"
#include "runtime/ops/decode_row.h"
#include "runtime/ops/quantize_row.h"
#include "tests/parallel/shards/shard_fixture.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

ModelSource OpenQuantized(std::string_view model, Quantization quantization) {
  ModelSource source = OpenGolden(model);
  EXPECT_OK(Quantize(quantization, source));
  return source;
}

std::vector<float> RowOf(const ConstTensorView& view, int64_t row) {
  std::vector<float> values(static_cast<size_t>(view.columns()));
  DecodeRow(view.dtype, view.row(row), {0, view.columns()}, values);
  return values;
}

// Output `row` of a matrix, however it lies.
std::vector<float> OutputOf(const ConstTensorView& view, bool input_major, int64_t row) {
  if (!input_major) return RowOf(view, row);
  std::vector<float> values;
  for (int64_t input = 0; input < view.rows(); ++input) {
    values.push_back(RowOf(view, input)[static_cast<size_t>(row)]);
  }
  return values;
}

// The bytes of `shard` are those of `whole`, or what its rows are quantised to.
void ExpectMadeFrom(const ConstTensorView& whole, bool input_major, const ConstTensorView& shard,
                    const std::string& name) {
  if (shard.empty()) return;
  const auto bytes = static_cast<size_t>(RowBytes(shard.dtype, shard.columns()));
  for (int64_t row = 0; row < shard.rows(); ++row) {
    std::vector<std::byte> expected(bytes);
    if (shard.dtype == whole.dtype) {
      std::memcpy(expected.data(), whole.row(row), bytes);
    } else {
      ASSERT_EQ(QuantizeRow(shard.dtype, OutputOf(whole, input_major, row), expected),
                std::nullopt);
    }
    ASSERT_EQ(std::memcmp(shard.row(row), expected.data(), bytes), 0) << name << " row " << row;
  }
}

struct Case {
  const char* model;
  Quantization quantization;
  Mesh mesh;
};

class QuantizedShardsTest : public testing::TestWithParam<Case> {};

TEST_P(QuantizedShardsTest, HoldWhatTheirSlicesAreQuantisedToOnEveryMesh) {
  const auto& [name, quantization, mesh] = GetParam();
  const ModelSource whole = OpenGolden(name);
  const ModelSource quantized = OpenQuantized(name, quantization);
  const ScratchDirectory scratch;
  ASSERT_OK(WriteShards(quantized, SmallSteps(mesh, scratch / "out")));
  const auto verified = VerifyShards(scratch / "out", {});
  ASSERT_OK(verified);
  EXPECT_THAT(verified->damage, IsEmpty());
  const auto shards = OpenModel(scratch / "out");
  ASSERT_OK(shards);
  EXPECT_EQ(shards->quantization, quantization);
  const auto planned = ReadStoredTypes(quantized.table, *quantized.checkpoint->tensors);
  ASSERT_OK(planned);
  for (int rank = 0; rank < mesh.ranks(); ++rank) {
    SCOPED_TRACE("rank " + std::to_string(rank));
    const auto extent = MakeExtent(whole.config, PlaceOf(mesh, rank));
    ASSERT_OK(extent);
    const auto from = Weights::Bind(whole.table, *extent, *whole.TensorsOf(rank));
    const auto to = Weights::Bind(shards->table, *extent, *shards->TensorsOf(rank));
    ASSERT_OK(from);
    ASSERT_OK(to);
    EXPECT_EQ(WeightBytes({quantized.table, *planned}, *extent), to->bytes());
    for (const TensorSpec& spec : whole.table) {
      if (!SliceFor(spec, *extent)) continue;
      if (!IsRouted(spec)) {
        const auto of = [&](const Weights& weights) {
          return spec.layer < 0 ? weights.global(spec.slot) : weights.at(spec.layer, spec.slot);
        };
        ExpectMadeFrom(of(*from).view, false, of(*to).view, spec.name);
        EXPECT_EQ(of(*to).column_offset, 0);
        continue;
      }
      const auto source = from->experts(spec.layer, spec.slot);
      const auto stored = to->experts(spec.layer, spec.slot);
      ASSERT_EQ(source.size(), stored.size());
      for (size_t e = 0; e < source.size(); ++e) {
        ExpectMadeFrom(source[e].values, source[e].input_major, stored[e].values, spec.name);
        EXPECT_EQ(stored[e].scales.empty(), source[e].scales.empty());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Golden, QuantizedShardsTest,
    testing::Values(Case{"llama3-tiny-bf16", Quantization::kInt8, {}},
                    Case{"llama3-tiny-bf16", Quantization::kInt4, {.pp = 2, .tp = 4}},
                    // Leaves of 24 inputs: its down projections stay as they are.
                    Case{"llama3-tiny-f32", Quantization::kInt8, {.tp = 2}},
                    Case{"llama3-tiny-gguf-f16", Quantization::kInt4, {.tp = 2}},
                    Case{"llama-tied", Quantization::kInt4, {.pp = 2, .tp = 2}},
                    Case{"llama4-maverick-tiny", Quantization::kInt8, {}},
                    Case{"llama4-maverick-tiny", Quantization::kInt4, {.pp = 2, .ep = 2, .tp = 2}},
                    Case{"llama4-scout-tiny", Quantization::kInt4, {.ep = 2, .tp = 2}},
                    Case{"llama4-fp8", Quantization::kInt8, {.tp = 2}}));

TEST(QuantizedShardsTest, ResumeToTheSameFiles) {
  const ModelSource model = OpenQuantized("llama4-scout-tiny", Quantization::kInt4);
  const ScratchDirectory scratch;
  const Mesh mesh{.tp = 2};
  ASSERT_OK(WriteShards(model, SmallSteps(mesh, scratch / "clean")));
  // One rank first, then what is missing.
  ShardOptions half = SmallSteps(mesh, scratch / "resumed");
  half.ranks = {1};
  ASSERT_OK(WriteShards(model, half));
  const auto report = WriteShards(model, SmallSteps(mesh, scratch / "resumed"));
  ASSERT_OK(report);
  EXPECT_EQ(report->kept, std::vector<int>{1});
  EXPECT_TRUE(ReadDirectory(scratch / "clean") == ReadDirectory(scratch / "resumed"));
}

TEST(QuantizedShardsTest, AreNotTakenForOthers) {
  const ScratchDirectory scratch;
  const ModelSource int8 = OpenQuantized("llama-tied", Quantization::kInt8);
  ASSERT_OK(WriteShards(int8, SmallSteps({}, scratch / "out")));
  const ModelSource int4 = OpenQuantized("llama-tied", Quantization::kInt4);
  EXPECT_THAT(WriteShards(int4, SmallSteps({}, scratch / "out")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("of other shards")));
  auto shards = OpenModel(scratch / "out");
  ASSERT_OK(shards);
  EXPECT_THAT(Quantize(Quantization::kInt8, *shards),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sharded already")));
}

TEST(QuantizedShardsTest, RefuseAValueThatIsNotFiniteByItsTensor) {
  const ScratchDirectory scratch;
  std::filesystem::copy(GoldenModelPath("llama4-scout-tiny"), scratch / "model");
  auto model = OpenModel(scratch / "model");
  ASSERT_OK(model);
  for (const TensorEntry& entry : model->checkpoint->tensors->entries()) {
    if (entry.name.find("layers.1.feed_forward.experts.gate_up_proj") == std::string::npos) {
      continue;
    }
    ASSERT_EQ(entry.view.dtype, DType::kF32);
    std::string file = ReadFile(entry.file->path());
    const auto offset = static_cast<size_t>(entry.view.data - entry.file->bytes().data());
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(file.data() + offset + sizeof nan, &nan, sizeof nan);
    WriteFile(entry.file->path(), file);
    break;
  }
  model = OpenModel(scratch / "model");
  ASSERT_OK(model);
  ASSERT_OK(Quantize(Quantization::kInt8, *model));
  EXPECT_THAT(WriteShards(*model, SmallSteps({}, scratch / "out")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("experts.gate_up_proj"),
                             HasSubstr("output 1, input 0 of the slice is nan"))));
}

}  // namespace
}  // namespace trireme
