// Linear by weight type, at shapes of SmolLM2-135M and of a Llama with 1B parameters, and the
// products of Maverick's routed experts, and attention. Besides time,
// each row says which share of the machine's measured limits it reached: `of_read` (bytes of
// weights read, against a plain read loop: what bounds decode) and `of_fma` (operations, against a
// register FMA loop: what bounds prefill; `of_int8`: against one of VNNI). The weights of a row are
// a ring of copies larger than the caches, as the layers of a model are.
//
//   ops_bench [--threads=N] [--target=AVX2|AVX3|AVX3_DL] [--compute=native|fp32] [Google
//   Benchmark's flags]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "benchmark/benchmark.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/ops.h"
#include "tests/bench/machine_limits.h"

namespace trireme {
namespace {

struct Setting {
  Ops* ops = nullptr;
  Tensor* ring = nullptr;
  MachineLimits limits;
};

struct MatrixShape {
  const char* name;
  int64_t outputs;
  int64_t width;
};

constexpr MatrixShape kShapes[] = {
    {"smollm2_q", 576, 576}, {"smollm2_up", 1536, 576}, {"smollm2_down", 576, 1536},
    {"1b_up", 8192, 2048},   {"1b_down", 2048, 8192},
};
constexpr DType kTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,
                            DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};
constexpr int64_t kTokens[] = {1, 2, 4, 8, 16, 64, 512};
constexpr int64_t kRingBytes = 256 << 20;

// Bytes that every type can read as weights: any bytes decode to something, and these give neither
// subnormal nor huge scales, which would distort the time.
Tensor RingOfWeights() {
  Tensor tensor(DType::kF8E4M3, Shape{kRingBytes});
  std::minstd_rand random(1);
  for (std::byte& byte : tensor.view().span<std::byte>()) {
    byte = static_cast<std::byte>(0x20 + random() % 0x1F);
  }
  return tensor;
}

// What calls that each read `matrix_bytes` of weights reached.
void Report(benchmark::State& state, const Setting& setting, int64_t matrix_bytes,
            int64_t multiplications) {
  const auto calls = static_cast<double>(state.iterations());
  const double bytes = calls * static_cast<double>(matrix_bytes);
  const double operations = calls * 2 * static_cast<double>(multiplications);
  using benchmark::Counter;
  state.counters["bytes/s"] = Counter(bytes, Counter::kIsRate, Counter::kIs1000);
  state.counters["FLOP/s"] = Counter(operations, Counter::kIsRate, Counter::kIs1000);
  state.counters["of_read"] =
      Counter(bytes / setting.limits.read_bytes_per_second, Counter::kIsRate);
  state.counters["of_fma"] =
      Counter(operations / setting.limits.flops_per_second, Counter::kIsRate);
  if (setting.limits.int8_ops_per_second > 0) {
    state.counters["of_int8"] =
        Counter(operations / setting.limits.int8_ops_per_second, Counter::kIsRate);
  }
}

void RunLinear(benchmark::State& state, const Setting& setting, DType dtype,
               const MatrixShape& shape, int64_t tokens) {
  const int64_t matrix_bytes = shape.outputs * RowBytes(dtype, shape.width);
  const int64_t copies = kRingBytes / matrix_bytes;
  const ConstTensorView ring(setting.ring->view().data, dtype,
                             Shape{copies * shape.outputs, shape.width});
  Tensor x(DType::kF32, Shape{tokens, shape.width});
  std::ranges::fill(x.view().span<float>(), 0.5f);
  Tensor out(DType::kF32, Shape{tokens, shape.outputs});
  int64_t copy = 0;
  for (auto _ : state) {
    const Range rows{copy * shape.outputs, (copy + 1) * shape.outputs};
    setting.ops->Linear(x.view(), ring.Rows(rows), out.view());
    copy = (copy + 1) % copies;
  }
  Report(state, setting, matrix_bytes, tokens * shape.outputs * shape.width);
}

// A routed expert's product, with all tokens on one expert; `input_major` as fused checkpoints have
// them.
void RunExpert(benchmark::State& state, const Setting& setting, DType dtype,
               const MatrixShape& shape, int64_t tokens, bool input_major) {
  const int64_t matrix_bytes = shape.outputs * RowBytes(dtype, shape.width);
  const int64_t copies = kRingBytes / matrix_bytes;
  Tensor x(DType::kF32, Shape{tokens, shape.width});
  std::ranges::fill(x.view().span<float>(), 0.5f);
  Tensor out(DType::kF32, Shape{tokens, shape.outputs});
  std::vector<int32_t> offsets = {0, static_cast<int32_t>(tokens)};
  Routing routing;
  routing.held = {0, 1};
  routing.offsets = offsets;
  int64_t copy = 0;
  for (auto _ : state) {
    const std::byte* data = setting.ring->view().data + copy * matrix_bytes;
    const Shape matrix =
        input_major ? Shape{shape.width, shape.outputs} : Shape{shape.outputs, shape.width};
    const ExpertMatrix expert{
        .values = ConstTensorView(data, dtype, matrix), .scales = {}, .input_major = input_major};
    setting.ops->ExpertLinear(x.view(), {&expert, 1}, routing, nullptr, out.view());
    copy = (copy + 1) % copies;
  }
  Report(state, setting, matrix_bytes, tokens * shape.outputs * shape.width);
}

// Sequences of a Llama with 1B parameters: 32 query heads over 8 of keys, 64 wide.
struct AttentionShapeOfBench {
  const char* name;
  int64_t sequences;
  int64_t rows;  // of each, the last of its context
  int64_t context;
};
constexpr AttentionShapeOfBench kAttentions[] = {
    {"prefill", 1, 512, 512}, {"decode", 1, 1, 512},   {"decode", 1, 1, 4096},
    {"decode", 16, 1, 512},   {"decode", 16, 1, 4096},
};

void RunAttention(benchmark::State& state, const Setting& setting, DType dtype,
                  const AttentionShapeOfBench& item) {
  constexpr int64_t kPageTokens = 32;
  const AttentionShape shape{.query_heads = 32,
                             .kv_heads = 8,
                             .group = 4,
                             .first_query_head = 0,
                             .first_kv_head = 0,
                             .head_dim = 64,
                             .scale = 0.125f,
                             .span = 0};
  const int64_t pages_each = item.context / kPageTokens;
  const int64_t pages = item.sequences * pages_each;
  const Shape pages_shape{pages, shape.kv_heads, kPageTokens, shape.head_dim};
  Tensor k(dtype, pages_shape);
  Tensor v(dtype, pages_shape);
  std::vector<int32_t> positions;
  std::vector<int32_t> sequences;
  std::vector<int32_t> offsets = {0};
  std::vector<int32_t> ids;
  for (int64_t s = 0; s < item.sequences; ++s) {
    for (int64_t p = item.context - item.rows; p < item.context; ++p) {
      positions.push_back(static_cast<int32_t>(p));
      sequences.push_back(static_cast<int32_t>(s));
    }
    offsets.push_back(static_cast<int32_t>((s + 1) * pages_each));
  }
  for (int64_t page = 0; page < pages; ++page) ids.push_back(static_cast<int32_t>(page));
  const RowIndex rows{positions, sequences, offsets, ids, 0};
  const int64_t tokens = item.sequences * item.rows;
  Tensor q(DType::kF32, Shape{tokens, shape.query_heads * shape.head_dim});
  std::ranges::fill(q.view().span<float>(), 0.5f);
  Tensor out(DType::kF32, q.view().shape);
  const KvPages held{k.view(), v.view()};
  for (auto _ : state) setting.ops->Attention(q.view(), rows, held, shape, out.view());
  const int64_t keys = item.sequences * item.rows * (item.context - (item.rows - 1) / 2);
  Report(state, setting, k.view().bytes() + v.view().bytes(),
         2 * keys * shape.query_heads * shape.head_dim);
}

void RegisterAttention(const Setting& setting) {
  for (const DType dtype : {DType::kF16, DType::kQ8_0, DType::kF32}) {
    for (const AttentionShapeOfBench& item : kAttentions) {
      const std::string name = std::string("Attention/") + item.name + "/" +
                               std::string(Name(dtype)) + "/" + std::to_string(item.sequences) +
                               "/" + std::to_string(item.context);
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
        RunAttention(state, setting, dtype, item);
      })->UseRealTime();
    }
  }
}

void RegisterExperts(const Setting& setting) {
  constexpr MatrixShape kExpertShapes[] = {{"maverick_gate", 8192, 5120},
                                           {"maverick_down", 5120, 8192}};
  for (const MatrixShape& shape : kExpertShapes) {
    for (const DType dtype : {DType::kBF16, DType::kF8E4M3}) {
      for (const bool input_major : {false, true}) {
        for (const int64_t tokens : {1, 4, 8, 64}) {
          const std::string name =
              std::string("ExpertLinear/") + shape.name + "/" + std::string(Name(dtype)) +
              (input_major ? "/input_major/" : "/output_major/") + std::to_string(tokens);
          benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
            RunExpert(state, setting, dtype, shape, tokens, input_major);
          })->UseRealTime();
        }
      }
    }
  }
}

void RegisterAll(const Setting& setting) {
  for (const MatrixShape& shape : kShapes) {
    for (const DType dtype : kTypes) {
      if (shape.width % Traits(dtype).block_elements != 0) continue;
      for (const int64_t tokens : kTokens) {
        const std::string name = std::string("Linear/") + shape.name + "/" +
                                 std::string(Name(dtype)) + "/" + std::to_string(tokens);
        benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
          RunLinear(state, setting, dtype, shape, tokens);
        })->UseRealTime();
      }
    }
  }
}

// Takes `--name=value` out of the arguments; `fallback` when absent.
std::string TakeFlag(int& argc, char** argv, std::string_view name, std::string fallback) {
  const std::string prefix = "--" + std::string(name) + "=";
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with(prefix)) continue;
    fallback = argument.substr(prefix.size());
    std::copy(argv + i + 1, argv + argc, argv + i);
    --argc;
    break;
  }
  return fallback;
}

int Main(int argc, char** argv) {
  const std::string threads_flag =
      TakeFlag(argc, argv, "threads", std::to_string(AvailableCores()));
  const int threads = std::max(1, std::atoi(threads_flag.c_str()));
  const std::string target = TakeFlag(argc, argv, "target", "");
  const bool native = TakeFlag(argc, argv, "compute", "fp32") == "native";
  const Arithmetic arithmetic = native ? Arithmetic::kNative : Arithmetic::kFp32;
  auto ops = MakeCpuOps({.threads = threads, .target = target, .arithmetic = arithmetic});
  if (!ops.ok()) {
    std::fprintf(stderr, "%s\n", ops.status().ToString().c_str());
    return 2;
  }
  Tensor ring = RingOfWeights();
  const Setting setting{ops->get(), &ring, MeasureLimits(threads)};
  std::fprintf(stderr, "%s, %d threads: read %.1f GB/s, fma %.1f GFLOP/s, int8 %.1f GOP/s\n",
               (*ops)->name().c_str(), threads, setting.limits.read_bytes_per_second * 1e-9,
               setting.limits.flops_per_second * 1e-9, setting.limits.int8_ops_per_second * 1e-9);
  RegisterAll(setting);
  RegisterExperts(setting);
  RegisterAttention(setting);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) { return trireme::Main(argc, argv); }
