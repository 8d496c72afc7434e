#include "launcher/planner/measure.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <thread>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/model/extent.h"
#include "runtime/ops/ops.h"
#include "runtime/sampling/sampler.h"

namespace trireme {
namespace {

// Three times a large last-level cache, so that weights come from memory as they do in a step.
constexpr double kWeightBytes = 96 << 20;
constexpr int64_t kManyTokens = 128;
constexpr int64_t kKeys = 256;
constexpr int kRuns = 40;
// A small normal number in every dtype: zeros may be shared pages, and tiny numbers slow.
constexpr int kFill = 0x3c;

double Seconds(absl::FunctionRef<void()> body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double BestSeconds(absl::FunctionRef<void()> body, int runs = kRuns) {
  body();
  double best = Seconds(body);
  for (int run = 1; run < runs; ++run) best = std::min(best, Seconds(body));
  return best;
}

Tensor Filled(DType dtype, Shape shape) {
  Tensor tensor(dtype, shape);
  const TensorView view = tensor.view();
  std::memset(view.data, kFill, static_cast<size_t>(view.bytes()));
  return tensor;
}

// One thread's verbs and the two products of an MLP, whose matrices are most of a model: one from
// the hidden row to the MLP's width, and one back, in leaves. As many layers of them as do not fit
// a cache.
class Bench {
 public:
  static absl::StatusOr<std::unique_ptr<Bench>> Make(const ModelConfig& config, DType dtype) {
    TRI_ASSIGN_OR_RETURN(std::unique_ptr<Ops> ops, MakeCpuOps({.threads = 1}));
    return std::unique_ptr<Bench>(new Bench(config, dtype, std::move(ops)));
  }

  double weight_bytes() const {
    const double both = static_cast<double>(RowBytes(dtype_, hidden_) * mlp_) +
                        static_cast<double>(RowBytes(dtype_, mlp_) * hidden_);
    return both * static_cast<double>(layers_.size());
  }
  double flops_per_token() const {
    return 4.0 * static_cast<double>(hidden_ * mlp_) * static_cast<double>(layers_.size());
  }

  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }

  // Calls `after` after each layer.
  void Multiply(
      int64_t tokens, absl::FunctionRef<void()> after = [] {}) {
    const Range rows{0, tokens};
    for (Layer& layer : layers_) {
      ops_->Linear(x_.view().Rows(rows), layer.up.view(), middle_.view().Rows(rows));
      ops_->LinearLeaves(middle_.view().Rows(rows), layer.down.view(), 0, leaves_.schedule,
                         out_.view().Rows(rows));
      after();
    }
  }

 private:
  struct Layer {
    Tensor up, down;
  };

  Bench(const ModelConfig& config, DType dtype, std::unique_ptr<Ops> ops)
      : ops_(std::move(ops)),
        dtype_(dtype),
        hidden_(WholeBlocks(config.hidden, dtype)),
        mlp_(WholeBlocks(config.intermediate, dtype)),
        leaves_(SplitWidth(mlp_, kMlpLeaves, 0, 1)),
        x_(Filled(DType::kF32, {kManyTokens, hidden_})),
        middle_(Filled(DType::kF32, {kManyTokens, mlp_})),
        out_(Filled(DType::kF32, {kManyTokens, hidden_})) {
    do {
      layers_.push_back({Filled(dtype, {mlp_, hidden_}), Filled(dtype, {hidden_, mlp_})});
    } while (weight_bytes() < kWeightBytes);
  }
  static int64_t WholeBlocks(int64_t width, DType dtype) {
    const int64_t block = Traits(dtype).block_elements;
    return (width + block - 1) / block * block;
  }

  std::unique_ptr<Ops> ops_;
  const DType dtype_;
  const int64_t hidden_, mlp_;
  const WidthSplit leaves_;
  Tensor x_, middle_, out_;
  std::vector<Layer> layers_;
};

// Bytes a second that `devices` threads read together.
absl::StatusOr<double> SharedBandwidth(const ModelConfig& config, DType dtype, int devices) {
  std::vector<std::unique_ptr<Bench>> benches;
  for (int i = 0; i < devices; ++i) {
    TRI_ASSIGN_OR_RETURN(benches.emplace_back(), Bench::Make(config, dtype));
  }
  const double seconds = BestSeconds([&] {
    std::vector<std::jthread> threads;
    for (const auto& bench : benches) threads.emplace_back([&bench] { bench->Multiply(1); });
  });
  return benches.front()->weight_bytes() * devices / seconds;
}

// Attention of `rows` tokens over kKeys keys that all of them see.
double AttentionSeconds(const ModelConfig& config, Ops& ops, int64_t rows) {
  constexpr int64_t kPageTokens = 32;
  constexpr int64_t kPages = (kKeys + kPageTokens - 1) / kPageTokens;
  Tensor k = Filled(DType::kF16, {kPages, config.kv_heads, kPageTokens, config.head_dim});
  Tensor v = Filled(DType::kF16, {kPages, config.kv_heads, kPageTokens, config.head_dim});
  const Shape shape{rows, config.query_heads * config.head_dim};
  Tensor q = Filled(DType::kF32, shape);
  Tensor out = Filled(DType::kF32, shape);
  std::vector<int32_t> positions(static_cast<size_t>(rows), kKeys - 1);
  std::vector<int32_t> sequences(static_cast<size_t>(rows), 0);
  std::vector<int32_t> pages(kPages);
  std::iota(pages.begin(), pages.end(), 0);
  const std::vector<int32_t> offsets = {0, kPages};
  const RowIndex index{positions, sequences, offsets, pages};
  const AttentionShape attention{.query_heads = config.query_heads,
                                 .kv_heads = config.kv_heads,
                                 .group = config.query_heads / config.kv_heads,
                                 .head_dim = config.head_dim,
                                 .scale = 0.1F};
  return BestSeconds([&] {
    ops.Attention(q.view(), index, {k.view(), v.view()}, attention, out.view());
  });
}

void MeasureAttention(const ModelConfig& config, Ops& ops, ClusterFile& cluster) {
  constexpr int64_t kRows = 64;
  const auto head = static_cast<double>(config.head_dim * kKeys);
  const double bytes = 2 * 2 * head * static_cast<double>(config.kv_heads);
  SetMeasured("device.attention_gb_s", bytes / AttentionSeconds(config, ops, 1) / 1e9, cluster);
  const double flops = 4 * head * static_cast<double>(config.query_heads * kRows);
  SetMeasured("device.attention_tflops", flops / AttentionSeconds(config, ops, kRows) / 1e12,
              cluster);
}

// Per byte of activations that the passes of a layer read and write, and per verb.
void MeasurePasses(const ModelConfig& config, Ops& ops, ClusterFile& cluster) {
  constexpr int kTimes = 64;
  Tensor tiny = Filled(DType::kF32, {1, 16});
  const Tensor other = Filled(DType::kF32, {1, 16});
  const double verb = BestSeconds([&] {
                        for (int i = 0; i < kTimes; ++i) ops.Add(tiny.view(), other.view());
                      }) /
                      kTimes;
  SetMeasured("overhead.verb_us", verb * 1e6, cluster);
  Tensor x = Filled(DType::kF32, {1, config.hidden});
  Tensor y = Filled(DType::kF32, {1, config.hidden});
  const Tensor norm = Filled(DType::kF32, {config.hidden});
  Tensor gate = Filled(DType::kF32, {1, config.intermediate});
  const Tensor up = Filled(DType::kF32, {1, config.intermediate});
  const double seconds = BestSeconds([&] {
                           for (int i = 0; i < kTimes; ++i) {
                             ops.RmsNorm(x.view(), norm.view(), 1e-5F, y.view());
                             ops.SiluMul(gate.view(), up.view());
                             ops.Add(x.view(), y.view());
                           }
                         }) /
                         kTimes;
  const auto bytes = static_cast<double>(4 * (5 * config.hidden + 3 * config.intermediate));
  SetMeasured("device.elementwise_gb_s", bytes / std::max(seconds - 3 * verb, seconds / 10) / 1e9,
              cluster);
}

void MeasureSampler(const ModelConfig& config, ClusterFile& cluster) {
  std::vector<float> logits(static_cast<size_t>(config.vocabulary));
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 977) * 0.01F;
  SampleRow row;
  row.params.temperature = 0;
  SamplerScratch scratch;
  const double seconds = BestSeconds([&] { Sample(logits, row, scratch); });
  SetMeasured("overhead.sample_us_per_1k", seconds * 1e9 / static_cast<double>(config.vocabulary),
              cluster);
}

// Of one of many exchanges between two ranks, back to back.
double ExchangeSeconds(Communicator& comm, int64_t floats, int times) {
  Tensor values = Filled(DType::kF32, {1, floats});
  return BestSeconds([&] {
           for (int i = 0; i < times; ++i) comm.TreeSum(values.view(), "measure");
         }) /
         times;
}

// What a tree sum of a hidden row adds to the work of a layer when it follows each, as in a step:
// ranks reach it one after the other, and its memory is no longer in a cache.
double SumSecondsInStep(Communicator& comm, Bench& bench, int64_t hidden) {
  Tensor row = Filled(DType::kF32, {1, hidden});
  const auto layers = static_cast<double>(bench.layers());
  const double alone = BestSeconds([&] { bench.Multiply(1); });
  const double with =
      BestSeconds([&] { bench.Multiply(1, [&] { comm.TreeSum(row.view(), "measure"); }); });
  return std::max(0.0, with - alone) / layers;
}

}  // namespace

absl::Status MeasureDevices(const ModelConfig& config, const std::vector<DType>& dtypes,
                            ClusterFile& cluster) {
  cluster.config.mutable_device()->clear_rates();
  for (size_t i = 0; i < dtypes.size(); ++i) {
    const std::string path = absl::StrFormat("device.rates[%d]", i);
    cluster.config.mutable_device()->add_rates()->set_dtype(std::string(Name(dtypes[i])));
    cluster.sources[path + ".dtype"] = "the model";
    TRI_ASSIGN_OR_RETURN(const std::unique_ptr<Bench> bench, Bench::Make(config, dtypes[i]));
    const double read = BestSeconds([&] { bench->Multiply(1); });
    SetMeasured(path + ".read_gb_s", bench->weight_bytes() / read / 1e9, cluster);
    const double many = BestSeconds([&] { bench->Multiply(kManyTokens); }, 2);
    SetMeasured(path + ".tflops",
                bench->flops_per_token() * static_cast<double>(kManyTokens) / many / 1e12, cluster);
  }
  const int devices = cluster.config.devices_per_node();
  TRI_ASSIGN_OR_RETURN(const double alone, SharedBandwidth(config, DType::kBF16, 1));
  SetMeasured("device.memory_bandwidth_gb_s", alone / 1e9, cluster);
  TRI_ASSIGN_OR_RETURN(const double shared, SharedBandwidth(config, DType::kBF16, devices));
  SetMeasured("shared.memory_bandwidth_gb_s", shared / 1e9, cluster);
  TRI_ASSIGN_OR_RETURN(const std::unique_ptr<Ops> ops, MakeCpuOps({.threads = 1}));
  MeasureAttention(config, *ops, cluster);
  MeasurePasses(config, *ops, cluster);
  MeasureSampler(config, cluster);
  return absl::OkStatus();
}

absl::Status MeasureLink(const ModelConfig& config, DType dtype, Communicator& world,
                         ClusterFile& cluster) {
  constexpr int64_t kFewFloats = 16;
  constexpr int64_t kManyFloats = 64 << 10;  // what a sum sends at a time
  constexpr int64_t kTimeoutMs = 60'000;
  const Deadline deadline = Deadline::AfterMs(kTimeoutMs);
  const bool of_pair = world.rank() < 2;
  TRI_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> pair,
                       world.Split(of_pair ? 0 : 1, world.rank(), deadline));
  TRI_ASSIGN_OR_RETURN(const std::unique_ptr<Bench> bench, Bench::Make(config, dtype));
  const auto row_bytes = static_cast<double>(config.hidden) * 4;
  const int devices = cluster.config.devices_per_node();
  double latency = 0;
  if (of_pair) {
    const double few = ExchangeSeconds(*pair, kFewFloats, 100);
    const double many = ExchangeSeconds(*pair, kManyFloats, 10);
    const double per_byte = std::max(many - few, many / 10) / (4.0 * kManyFloats);
    SetMeasured("node_link.bandwidth_gb_s", 1e-9 / per_byte, cluster);
    latency = std::max(few, SumSecondsInStep(*pair, *bench, config.hidden) - row_bytes * per_byte);
    SetMeasured("node_link.latency_us", latency * 1e6, cluster);
    TRI_RETURN_IF_ERROR(pair->status());
  }
  TRI_RETURN_IF_ERROR(world.Barrier(deadline, "measure"));
  if (world.size() > devices && std::has_single_bit(static_cast<unsigned>(world.size()))) {
    const int turns = (world.size() + devices - 1) / devices;
    const double exchanges = std::bit_width(static_cast<unsigned>(world.size())) - 1;
    const double sum = SumSecondsInStep(world, *bench, config.hidden);
    SetMeasured("overhead.switch_us", std::max(0.0, sum / exchanges - turns * latency) * 1e6,
                cluster);
  }
  return world.Barrier(deadline, "measured");
}

}  // namespace trireme
