#include "launcher/planner/matrix_bench.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <utility>

#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr int kFill = 0x3c;

bool IsMatrix(const TensorSpec& spec) { return spec.shape.rank() > 1 && !spec.expert_scales; }

// Rows of it are looked up; the head is another tensor.
bool IsLookedUp(const TensorSpec& spec) {
  return spec.along == Along::kVocabulary && spec.holder == Holder::kFirstStage;
}

// Matrix `plane` of a stack, or the one that there is.
ConstTensorView PlaneOf(const ConstTensorView& view, int64_t plane) {
  if (view.shape.rank() == 2) return view;
  const int64_t rows = view.shape[1];
  return ConstTensorView(view.row(plane * rows), view.dtype, Shape{rows, view.shape[2]},
                         view.row_stride_bytes);
}

}  // namespace

Tensor FilledTensor(DType dtype, Shape shape) {
  Tensor tensor(dtype, shape);
  const TensorView view = tensor.view();
  std::memset(view.data, kFill, static_cast<size_t>(view.bytes()));
  return tensor;
}

std::vector<MatrixForm> FormsOf(const PlannedModel& model) {
  std::vector<MatrixForm> forms;
  for (size_t i = 0; i < model.types.size(); ++i) {
    const TensorSpec& spec = model.source.table[i];
    if (!model.types[i] || !IsMatrix(spec) || IsLookedUp(spec)) continue;
    const MatrixForm form{.dtype = *model.types[i], .input_major = spec.input_major};
    if (std::ranges::find(forms, form) == forms.end()) forms.push_back(form);
  }
  return forms;
}

absl::StatusOr<std::unique_ptr<MatrixBench>> MatrixBench::Make(const PlannedModel& model,
                                                               const Extent& extent,
                                                               std::optional<MatrixForm> form) {
  TRI_ASSIGN_OR_RETURN(std::unique_ptr<Ops> ops,
                       MakeCpuOps({.threads = 1, .arithmetic = model.arithmetic}));
  auto bench = std::unique_ptr<MatrixBench>(new MatrixBench(std::move(ops)));
  TRI_ASSIGN_OR_RETURN(bench->source_, model.source.TensorsOf(0));
  for (const TensorSpec& spec : model.source.table) {
    if (!IsMatrix(spec) || IsLookedUp(spec) || bench->bytes_ >= kMostBytes) continue;
    const std::optional<Slice> slice = SliceFor(spec, extent);
    const TensorEntry* const entry = bench->source_->Find(NameIn(*bench->source_, spec));
    if (!slice || entry == nullptr) continue;
    const bool wanted =
        form ? *form == MatrixForm{entry->view.dtype, spec.input_major} : !IsRouted(spec);
    if (wanted) bench->AddMatrices(spec, *entry, *slice, bench->source_->holds_slices());
  }
  if (bench->matrices_.empty()) {
    return absl::InvalidArgumentError("there is no matrix of the model to measure with");
  }
  int64_t inputs = 0;
  int64_t outputs = 0;
  for (const Matrix& matrix : bench->matrices_) {
    inputs = std::max(inputs, matrix.inputs);
    outputs = std::max(outputs, matrix.outputs);
  }
  bench->x_ = FilledTensor(DType::kF32, {kMostTokens * inputs});
  bench->out_ = FilledTensor(DType::kF32, {kMostTokens * outputs});
  return bench;
}

void MatrixBench::AddMatrices(const TensorSpec& spec, const TensorEntry& entry, const Slice& slice,
                              bool sliced) {
  const int64_t planes = spec.shape.rank() == 3 ? slice.experts.size() : 1;
  for (int64_t plane = 0; plane < planes && bytes_ < kMostBytes; ++plane) {
    ConstTensorView view = PlaneOf(entry.view, plane + (sliced ? 0 : slice.experts.begin));
    if (!sliced) {
      const Slice region = SourceRegion(spec, slice);
      view = view.Rows(region.rows).Columns(WidenToBlocks(region.columns, view.dtype));
    }
    Matrix matrix{.view = view,
                  .input_major = spec.input_major,
                  .summed = spec.split == Split::kInput,
                  .outputs = spec.input_major ? view.columns() : view.rows(),
                  .inputs = spec.input_major ? view.rows() : view.columns()};
    matrix.leaves = matrix.summed && !IsBlockType(view.dtype)
                        ? SplitWidth(matrix.inputs, kMlpLeaves, 0, 1).schedule
                        : LeafSchedule{{{0, matrix.inputs}}, {}, matrix.inputs};
    bytes_ += static_cast<double>(view.bytes());
    matrices_.push_back(std::move(matrix));
  }
}

double MatrixBench::weight_bytes() const { return bytes_; }

double MatrixBench::flops_per_token() const {
  return std::accumulate(matrices_.begin(), matrices_.end(), 0.0, [](double sum, const Matrix& m) {
    return sum + 2.0 * static_cast<double>(m.outputs * m.inputs);
  });
}

int64_t MatrixBench::sums() const { return std::ranges::count(matrices_, true, &Matrix::summed); }

void MatrixBench::Multiply(int64_t tokens, absl::FunctionRef<void()> sum) {
  for (const Matrix& matrix : matrices_) {
    MultiplyBy(matrix, tokens);
    if (matrix.summed) sum();
  }
}

// A matrix of inputs is multiplied as one expert that all tokens go to.
void MatrixBench::MultiplyBy(const Matrix& matrix, int64_t tokens) {
  const ConstTensorView x(x_.view().data, DType::kF32, Shape{tokens, matrix.inputs});
  const TensorView out(out_.view().data, DType::kF32, Shape{tokens, matrix.outputs});
  if (!matrix.input_major) {
    ops_->LinearLeaves(x, matrix.view, 0, matrix.leaves, out);
    return;
  }
  std::array<int32_t, 2> offsets = {0, static_cast<int32_t>(tokens)};
  Routing routing;
  routing.held = {0, 1};
  routing.offsets = offsets;
  const ExpertMatrix expert{.values = matrix.view, .scales = {}, .input_major = true};
  ops_->ExpertLinear(x, {&expert, 1}, routing, &matrix.leaves, out);
}

}  // namespace trireme
