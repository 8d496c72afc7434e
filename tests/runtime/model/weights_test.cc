#include "runtime/model/weights.h"

#include <gtest/gtest.h>

#include <cstring>

#include "runtime/model/architecture.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;

std::string Model(std::string_view name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/" + std::string(name);
}

struct Opened {
  ModelConfig config;
  TensorTable table;
  std::shared_ptr<const TensorSource> source;
};

Opened OpenModelFiles(std::string_view name) {
  auto checkpoint = OpenCheckpoint(Model(name));
  EXPECT_OK(checkpoint);
  Opened opened;
  opened.config = *ConfigOf(*checkpoint);
  opened.table = (*FindArchitecture(opened.config.architecture))->tensors(opened.config);
  opened.source = std::move(checkpoint->tensors);
  return opened;
}

TEST(Weights, EverySliceOfEveryMeshIsTheRegionTheTableSays) {
  const Opened model = OpenModelFiles("llama3-tiny-bf16");
  for (const int shards : {1, 2, 4}) {
    for (int shard = 0; shard < shards; ++shard) {
      const auto extent = MakeExtent(model.config, {.shard = shard, .shards = shards});
      ASSERT_OK(extent);
      const auto weights = Weights::Bind(model.table, *extent, model.source);
      ASSERT_OK(weights);
      for (const TensorSpec& spec : model.table) {
        if (spec.optional) continue;
        const auto slice = SliceFor(spec, *extent);
        ASSERT_TRUE(slice.has_value());
        const Weight& weight =
            spec.layer < 0 ? weights->global(spec.slot) : weights->at(spec.layer, spec.slot);
        const ConstTensorView whole = model.source->Find(spec.name)->view;
        ASSERT_EQ(weight.view.rows(), spec.shape.rank() == 2 ? slice->rows.size() : 1);
        if (spec.shape.rank() != 2) continue;
        const size_t bytes = static_cast<size_t>(RowBytes(whole.dtype, slice->columns.size()));
        for (int64_t row = 0; row < slice->rows.size(); ++row) {
          const std::byte* expected =
              whole.row(slice->rows.begin + row) + RowBytes(whole.dtype, slice->columns.begin);
          ASSERT_EQ(std::memcmp(weight.view.row(row), expected, bytes), 0) << spec.name;
        }
      }
    }
  }
}

TEST(Weights, ColumnSlicesOfBlockTypesAreWidenedToWholeBlocks) {
  EXPECT_EQ(WidenToBlocks({48, 96}, DType::kQ8_0), (Range{32, 96}));
  EXPECT_EQ(WidenToBlocks({128, 256}, DType::kQ4_K), (Range{0, 256}));
  EXPECT_EQ(WidenToBlocks({5, 9}, DType::kBF16), (Range{5, 9}));
}

TEST(Weights, NamesAMissingTensorAndAWrongShape) {
  Opened model = OpenModelFiles("llama3-tiny-bf16");
  const auto extent = MakeExtent(model.config, {});
  model.table[0].name = "model.layers.0.no_such.weight";
  EXPECT_THAT(Weights::Bind(model.table, *extent, model.source).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("model.layers.0.no_such.weight")));
  model = OpenModelFiles("llama3-tiny-bf16");
  model.config.intermediate *= 2;
  const auto wider = MakeExtent(model.config, {});
  const TensorTable table = (*FindArchitecture("llama"))->tensors(model.config);
  EXPECT_THAT(Weights::Bind(table, *wider, model.source).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has shape")));
}

TEST(Architectures, AnUnknownFamilyIsRefusedWithTheListOfKnownOnes) {
  EXPECT_THAT(FindArchitecture("mamba").status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("supported are: llama")));
}

}  // namespace
}  // namespace trireme
