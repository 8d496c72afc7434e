// The verbs of Llama 4: routed experts in every layout and type, and scaling by position.
#include "absl/strings/str_format.h"
#include "tests/runtime/ops/parity_cases.h"
#include "tests/runtime/ops/samples.h"

namespace trireme {
namespace {

// The arrays behind a Routing.
struct RoutingArrays {
  std::vector<int32_t> experts, rows, offsets;
  std::vector<float> scores;
  std::vector<int64_t> loads;
  int64_t per_token;
  Range held;

  RoutingArrays(int64_t tokens, int64_t all, int64_t chosen, Range held_experts)
      : experts(static_cast<size_t>(tokens * chosen), -1),
        rows(experts.size(), -1),
        offsets(static_cast<size_t>(held_experts.size() + 1), -1),
        scores(experts.size(), -1),
        loads(static_cast<size_t>(all), 100),
        per_token(chosen),
        held(held_experts) {}

  Routing View() { return {per_token, held, experts, scores, rows, offsets, loads}; }
};

struct RouteCase {
  int64_t tokens;
  int64_t experts;
  int64_t per_token;
  Range held;
};
constexpr RouteCase kRouteCases[] = {
    {0, 4, 1, {0, 4}},   {1, 4, 1, {0, 4}},      {5, 8, 1, {4, 8}},
    {70, 16, 2, {0, 8}}, {33, 128, 8, {0, 128}}, {9, 1, 1, {0, 1}},
};

// Equal logits among them: ties go to the lower expert.
std::vector<float> Logits(const RouteCase& route, Sampler& sampler) {
  std::vector<float> logits = sampler.Values(route.tokens * route.experts);
  for (size_t i = 0; i + 1 < logits.size(); i += 3) logits[i + 1] = logits[i];
  return logits;
}

std::vector<float> RunRoute(Ops& ops, const RouteCase& route) {
  Sampler sampler(kSeed);
  const std::vector<float> logits = Logits(route, sampler);
  RoutingArrays arrays(route.tokens, route.experts, route.per_token, route.held);
  ops.Route(Matrix(logits, route.tokens, route.experts), arrays.View());
  std::vector<float> result = arrays.scores;
  const auto append = [&result](const auto& values, size_t count) {
    for (size_t i = 0; i < count; ++i) result.push_back(static_cast<float>(values[i]));
  };
  append(arrays.experts, arrays.experts.size());
  append(arrays.offsets, arrays.offsets.size());
  append(arrays.rows, static_cast<size_t>(arrays.offsets.back()));
  append(arrays.loads, arrays.loads.size());
  return result;
}

// Routes, and moves rows to the experts and back.
std::vector<float> RunGatherScatter(Ops& ops, const RouteCase& route, int64_t width) {
  Sampler sampler(kSeed);
  const std::vector<float> logits = Logits(route, sampler);
  RoutingArrays arrays(route.tokens, route.experts, route.per_token, route.held);
  ops.Route(Matrix(logits, route.tokens, route.experts), arrays.View());
  const int64_t slots = route.tokens * route.per_token;
  const std::vector<float> x = sampler.Values(route.tokens * width);
  std::vector<float> gathered = Floats(slots, width);
  ops.GatherExperts(Matrix(x, route.tokens, width), arrays.View(), Matrix(gathered, slots, width));
  std::vector<float> scattered = Floats(slots, width);
  ops.ScatterExperts(Matrix(std::as_const(gathered), slots, width), arrays.View(),
                     Matrix(scattered, slots, width));
  return scattered;
}

struct ProductCase {
  DType dtype = DType::kBF16;
  bool input_major = false;
  bool scaled = false;
  bool leaves = false;
  int64_t tokens = 1;
  int64_t outputs = 1;
  int64_t width = 16;
};

std::vector<float> RunExpertLinear(Ops& ops, const ProductCase& product) {
  Sampler sampler(kSeed);
  const RouteCase route{product.tokens, 4, 1, {1, 4}};
  const std::vector<float> logits = Logits(route, sampler);
  RoutingArrays arrays(route.tokens, route.experts, route.per_token, route.held);
  ops.Route(Matrix(logits, route.tokens, route.experts), arrays.View());
  // With leaves the matrix begins one block before them.
  const int64_t block = Traits(product.dtype).block_elements;
  const int64_t offset = product.leaves ? block : 0;
  const int64_t k = product.width + offset;
  std::vector<Tensor> memory;
  std::vector<ExpertMatrix> experts;
  for (int64_t e = 0; e < route.held.size(); ++e) {
    Tensor& values = memory.emplace_back(product.input_major
                                             ? sampler.Weights(product.dtype, k, product.outputs)
                                             : sampler.Weights(product.dtype, product.outputs, k));
    ExpertMatrix matrix{.values = values.view(),
                        .scales = {},
                        .input_major = product.input_major,
                        .offset = offset};
    Tensor& scales = memory.emplace_back(
        sampler.Weights(e == 0 ? DType::kF32 : DType::kBF16, 1, product.outputs));
    if (product.scaled) matrix.scales = scales.view();
    experts.push_back(matrix);
  }
  const LeafSchedule schedule = SplitWidth(product.width, 8, 0, 1).schedule;
  const std::vector<float> x = sampler.Values(product.tokens * product.width);
  std::vector<float> out = Floats(product.tokens, product.outputs);
  ops.ExpertLinear(Matrix(x, product.tokens, product.width), experts, arrays.View(),
                   product.leaves ? &schedule : nullptr,
                   Matrix(out, product.tokens, product.outputs));
  return out;
}

void AddProducts(DType dtype, std::vector<ParityCase>& cases) {
  const int64_t unit = IsBlockType(dtype) ? Traits(dtype).block_elements : 16;
  for (const bool input_major : {false, true}) {
    if (input_major && IsBlockType(dtype)) continue;
    for (const bool scaled : {false, true}) {
      for (const bool leaves : {false, true}) {
        for (const int64_t tokens : {1, 2, 5, 40}) {
          for (const int64_t outputs : {1, 16, 33, 150}) {
            // Every leaf of a block type is of whole blocks, or none is.
            const int64_t width = tokens == 5 ? 3 * unit : 8 * unit;
            cases.push_back(
                {absl::StrFormat("ExpertLinear %s input_major=%d scaled=%d leaves=%d tokens=%d "
                                 "outputs=%d",
                                 std::string(Name(dtype)), input_major, scaled, leaves, tokens,
                                 outputs),
                 [=](Ops& ops) {
                   return RunExpertLinear(
                       ops, {dtype, input_major, scaled, leaves, tokens, outputs, width});
                 }});
          }
        }
      }
    }
  }
}

std::vector<float> RunScaleByPosition(Ops& ops, int64_t tokens, int64_t width) {
  Sampler sampler(kSeed);
  std::vector<float> x = sampler.Values(tokens * width);
  const std::vector<float> scales = sampler.Values(50);
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < tokens; ++t) {
    positions.push_back(static_cast<int32_t>(sampler.Integer(0, 49)));
  }
  ops.ScaleByPosition(Matrix(x, tokens, width), positions, Matrix(scales, 50, 1));
  return x;
}

}  // namespace

void AddExpertCases(std::vector<ParityCase>& cases) {
  for (const RouteCase& route : kRouteCases) {
    const std::string name =
        absl::StrFormat("tokens=%d experts=%d per_token=%d held=%d", route.tokens, route.experts,
                        route.per_token, route.held.size());
    cases.push_back({"Route " + name, [=](Ops& ops) { return RunRoute(ops, route); }});
    cases.push_back({"GatherExperts and ScatterExperts " + name,
                     [=](Ops& ops) { return RunGatherScatter(ops, route, 37); }});
  }
  for (const DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kQ8_0, DType::kQ4_K}) {
    AddProducts(dtype, cases);
  }
  for (const int64_t tokens : {0, 1, 70}) {
    cases.push_back({absl::StrFormat("ScaleByPosition tokens=%d", tokens),
                     [=](Ops& ops) { return RunScaleByPosition(ops, tokens, 37); }});
  }
}

}  // namespace trireme
