#include "launcher/planner/mlp_bench.h"

#include <array>
#include <cstring>
#include <utility>

#include "runtime/base/status_macros.h"
#include "runtime/model/extent.h"

namespace trireme {
namespace {

// Three times a large last-level cache, so that weights come from memory as they do in a step.
constexpr double kWeightBytes = 96 << 20;
constexpr int kFill = 0x3c;

MlpShape WholeBlocks(MlpShape shape) {
  const int64_t block = Traits(shape.form.dtype).block_elements;
  shape.hidden = (shape.hidden + block - 1) / block * block;
  shape.width = (shape.width + block - 1) / block * block;
  return shape;
}

}  // namespace

Tensor FilledTensor(DType dtype, Shape shape) {
  Tensor tensor(dtype, shape);
  const TensorView view = tensor.view();
  std::memset(view.data, kFill, static_cast<size_t>(view.bytes()));
  return tensor;
}

absl::StatusOr<std::unique_ptr<MlpBench>> MlpBench::Make(const MlpShape& shape) {
  TRI_ASSIGN_OR_RETURN(std::unique_ptr<Ops> ops, MakeCpuOps({.threads = 1}));
  return std::unique_ptr<MlpBench>(new MlpBench(WholeBlocks(shape), std::move(ops)));
}

MlpBench::MlpBench(const MlpShape& shape, std::unique_ptr<Ops> ops)
    : shape_(shape),
      ops_(std::move(ops)),
      leaves_(SplitWidth(shape.width, kMlpLeaves, 0, 1)),
      x_(FilledTensor(DType::kF32, {kMostTokens, shape.hidden})),
      gate_(FilledTensor(DType::kF32, {kMostTokens, shape.width})),
      up_(FilledTensor(DType::kF32, {kMostTokens, shape.width})),
      out_(FilledTensor(DType::kF32, {kMostTokens, shape.hidden})) {
  do {
    AddLayer();
  } while (weight_bytes() < kWeightBytes);
}

void MlpBench::AddLayer() {
  const auto matrix = [&](int64_t outputs, int64_t inputs) {
    const Shape shape = shape_.form.input_major ? Shape{inputs, outputs} : Shape{outputs, inputs};
    return FilledTensor(shape_.form.dtype, shape);
  };
  layers_.push_back({.gate_up = matrix(2 * shape_.width, shape_.hidden),
                     .down = matrix(shape_.hidden, shape_.width)});
}

double MlpBench::weight_bytes() const {
  const Layer& layer = layers_.front();
  return static_cast<double>((layer.gate_up.view().bytes() + layer.down.view().bytes()) * layers());
}

double MlpBench::flops_per_token() const {
  return 6.0 * static_cast<double>(shape_.hidden * shape_.width * layers());
}

void MlpBench::Multiply(int64_t tokens, absl::FunctionRef<void()> after) {
  const Range rows{0, tokens};
  for (const Layer& layer : layers_) {
    if (shape_.form.input_major) {
      MultiplyInputMajor(layer, rows);
    } else {
      MultiplyRows(layer, rows);
    }
    after();
  }
}

void MlpBench::MultiplyRows(const Layer& layer, Range rows) {
  const int64_t width = shape_.width;
  const ConstTensorView x = x_.view().Rows(rows);
  ops_->Linear(x, layer.gate_up.view().Rows({0, width}), gate_.view().Rows(rows));
  ops_->Linear(x, layer.gate_up.view().Rows({width, 2 * width}), up_.view().Rows(rows));
  ops_->LinearLeaves(gate_.view().Rows(rows), layer.down.view(), 0, leaves_.schedule,
                     out_.view().Rows(rows));
}

// As one expert that all tokens go to.
void MlpBench::MultiplyInputMajor(const Layer& layer, Range rows) {
  std::array<int32_t, 2> offsets = {0, static_cast<int32_t>(rows.size())};
  Routing routing;
  routing.held = {0, 1};
  routing.offsets = offsets;
  const auto multiply = [&](ConstTensorView x, ConstTensorView w, const LeafSchedule* schedule,
                            TensorView out) {
    const ExpertMatrix matrix{.values = w, .scales = {}, .input_major = true};
    ops_->ExpertLinear(x.Rows(rows), {&matrix, 1}, routing, schedule, out.Rows(rows));
  };
  const int64_t width = shape_.width;
  multiply(x_.view(), layer.gate_up.view().Columns({0, width}), nullptr, gate_.view());
  multiply(x_.view(), layer.gate_up.view().Columns({width, 2 * width}), nullptr, up_.view());
  multiply(gate_.view(), layer.down.view(), &leaves_.schedule, out_.view());
}

}  // namespace trireme
