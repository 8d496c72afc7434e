#include "runtime/ops/decode_row.h"

#include <bit>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/ops/ops.h"
#include "tests/runtime/ops/samples.h"

namespace trireme {
namespace {

struct GoldenBlock {
  DType dtype = DType::kF32;
  std::vector<std::byte> stored;
  std::vector<float> values;
};

// Blocks that another implementation has decoded (the first line of the file says which).
std::vector<GoldenBlock> GoldenBlocks() {
  std::vector<GoldenBlock> blocks;
  std::ifstream file(std::string(TRIREME_SOURCE_DIR) + "/tests/data/quant/gguf_blocks.txt");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream words(line);
    std::string name, hex;
    words >> name >> hex;
    GoldenBlock block;
    block.dtype = DTypeFromName(name).value();
    for (size_t i = 0; i < hex.size(); i += 2) {
      block.stored.push_back(static_cast<std::byte>(std::stoul(hex.substr(i, 2), nullptr, 16)));
    }
    while (words >> hex) {
      block.values.push_back(
          std::bit_cast<float>(static_cast<uint32_t>(std::stoul(hex, nullptr, 16))));
    }
    blocks.push_back(std::move(block));
  }
  return blocks;
}

TEST(DecodeRow, GivesTheBitsOfTheGgufPackage) {
  const std::vector<GoldenBlock> blocks = GoldenBlocks();
  ASSERT_GE(blocks.size(), 16u);
  for (const GoldenBlock& block : blocks) {
    const DTypeTraits& traits = Traits(block.dtype);
    ASSERT_EQ(block.stored.size(), static_cast<size_t>(traits.block_bytes));
    ASSERT_EQ(block.values.size(), static_cast<size_t>(traits.block_elements));
    std::vector<float> decoded(block.values.size());
    DecodeRow(block.dtype, block.stored.data(), {0, traits.block_elements}, decoded);
    EXPECT_EQ(FirstDifference(block.values, decoded), -1) << traits.name;
  }
}

TEST(DecodeRow, StartsAndEndsAnywhereInABlock) {
  Sampler sampler(3);
  for (const DType dtype : kWeightTypes) {
    const int64_t columns = 2 * Traits(dtype).block_elements + (IsBlockType(dtype) ? 0 : 70);
    Tensor row = sampler.Weights(dtype, 1, columns);
    std::vector<float> whole(static_cast<size_t>(columns));
    DecodeRow(dtype, row.view().data, {0, columns}, whole);
    for (int i = 0; i < 20; ++i) {
      const int64_t begin = sampler.Integer(0, columns);
      const int64_t end = sampler.Integer(begin, columns);
      std::vector<float> part(static_cast<size_t>(end - begin));
      DecodeRow(dtype, row.view().data, {begin, end}, part);
      const auto expected =
          std::span(whole).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
      EXPECT_EQ(FirstDifference(expected, part), -1) << Name(dtype) << " " << begin << " " << end;
    }
  }
}

TEST(DecodeRow, KnowsWhatAWeightIs) {
  EXPECT_FALSE(IsWeightType(DType::kI32));
  for (const DType dtype : kWeightTypes) EXPECT_TRUE(IsWeightType(dtype)) << Name(dtype);
}

}  // namespace
}  // namespace trireme
