#include "runtime/model/quantization/quantization.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/model/extent.h"
#include "runtime/tensor/sum_tree.h"

namespace trireme {
namespace {

constexpr int64_t kBlock = 32;

constexpr std::array kNames = {
    std::pair{Quantization::kNone, std::string_view("none")},
    std::pair{Quantization::kInt8, std::string_view("int8")},
    std::pair{Quantization::kInt4, std::string_view("int4")},
};

bool IsQuantizable(const TensorSpec& spec) {
  return spec.shape.rank() > 1 && !spec.exact && !spec.expert_scales && !spec.scaled;
}

int64_t InputsOf(const TensorSpec& spec) {
  return spec.shape[spec.shape.rank() - (spec.input_major ? 2 : 1)];
}

// Every leaf begins with a block.
bool FitsBlocks(const TensorSpec& spec, const ModelConfig& config) {
  const int64_t inputs = InputsOf(spec);
  if (inputs % kBlock != 0) return false;
  if (spec.split != Split::kInput) return true;
  if (spec.along == Along::kQueryHeads) return config.head_dim % kBlock == 0;
  const std::vector<Range> leaves = SplitWidth(inputs, kMlpLeaves, 0, 1).schedule.leaves;
  return std::ranges::all_of(leaves, [](const Range& leaf) { return leaf.begin % kBlock == 0; });
}

DType TypeOf(const TensorSpec& spec, Quantization quantization) {
  const bool four_bits = quantization == Quantization::kInt4 && spec.along != Along::kVocabulary;
  return four_bits ? DType::kQ4_1 : DType::kQ8_0;
}

}  // namespace

std::string_view Name(Quantization quantization) {
  return std::ranges::find(kNames, quantization, &decltype(kNames)::value_type::first)->second;
}

std::optional<Quantization> QuantizationFromName(std::string_view name) {
  const auto found = std::ranges::find(kNames, name, &decltype(kNames)::value_type::second);
  return found == kNames.end() ? std::nullopt : std::optional(found->first);
}

absl::StatusOr<TensorTable> QuantizedTable(TensorTable table, const ModelConfig& config,
                                           Quantization quantization) {
  if (quantization == Quantization::kNone) return table;
  for (TensorSpec& spec : table) {
    if (spec.scaled && quantization == Quantization::kInt4) {
      return absl::UnimplementedError(absl::StrFormat(
          "tensor %s is of an FP8 checkpoint, whose experts are not quantised to int4; take the "
          "BF16 checkpoint, or int8, which leaves FP8 as it is",
          spec.name));
    }
    if (!IsQuantizable(spec) || !FitsBlocks(spec, config)) continue;
    spec.quantized = TypeOf(spec, quantization);
    if (!spec.input_major) continue;
    spec.input_major = false;
    spec.transposed = true;
    spec.shape = Shape{spec.shape[0], spec.shape[2], spec.shape[1]};
  }
  return table;
}

std::vector<std::string> UnfitForBlocks(const TensorTable& table, const ModelConfig& config) {
  std::vector<std::string> names;
  for (const TensorSpec& spec : table) {
    if (IsQuantizable(spec) && !FitsBlocks(spec, config)) names.push_back(spec.name);
  }
  return names;
}

}  // namespace trireme
