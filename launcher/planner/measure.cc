#include "launcher/planner/measure.h"

#include <algorithm>
#include <barrier>
#include <bit>
#include <chrono>
#include <memory>
#include <numeric>
#include <span>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_format.h"
#include "launcher/planner/matrix_bench.h"
#include "runtime/base/status_macros.h"
#include "runtime/base/thread_pool.h"
#include "runtime/model/memory_plan.h"
#include "runtime/ops/ops.h"
#include "runtime/sampling/sampler.h"

namespace trireme {
namespace {

constexpr int64_t kKeys = 256;

double Seconds(absl::FunctionRef<void()> body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The end of the lowest eighth: what other work on the machine disturbed least.
double LowOf(std::vector<double>& seconds) {
  std::ranges::sort(seconds);
  return seconds[seconds.size() / 8];
}

// Of one call: of several spans of calls, each long enough to hold the usual hitches of a machine,
// a low one. The very shortest would be luck that no step has.
double UsualSeconds(absl::FunctionRef<void()> body) {
  constexpr double kSpanSeconds = 0.03;
  constexpr double kAllSeconds = 1;
  body();
  const double once = std::max(Seconds(body), 1e-9);
  const int calls = std::max(1, static_cast<int>(kSpanSeconds / once));
  const auto wanted = static_cast<size_t>(std::max(3.0, kAllSeconds / (once * calls)));
  std::vector<double> spans;
  while (spans.size() < wanted) {
    spans.push_back(Seconds([&] {
      for (int call = 0; call < calls; ++call) body();
    }));
  }
  return LowOf(spans) / calls;
}

// What rank `shard` of so many would hold; everything where the model cannot be cut so.
absl::StatusOr<Extent> SliceOf(const ModelConfig& config, int shard, int shards) {
  if (std::has_single_bit(static_cast<unsigned>(shards))) {
    absl::StatusOr<Extent> extent = MakeExtent(config, {.shard = shard, .shards = shards});
    if (extent.ok()) return extent;
  }
  return MakeExtent(config, {});
}

// Bytes of weights a second that each of `cores` reads while all do, a rank's thread on each: the
// slowest of them, which the others wait for. Threads start together and then run on, as ranks do:
// threads made anew for each pass share a core at first, and were slower by half in some processes.
absl::StatusOr<double> ReadTogether(const PlannedModel& model, const MatrixForm& form,
                                    std::span<const int> cores) {
  const auto shards = static_cast<int>(cores.size());
  std::vector<std::unique_ptr<MatrixBench>> benches;
  for (int i = 0; i < shards; ++i) {
    TRI_ASSIGN_OR_RETURN(const Extent extent, SliceOf(model.source.config, i, shards));
    TRI_ASSIGN_OR_RETURN(benches.emplace_back(), MatrixBench::Make(model, extent, form));
  }
  std::vector<double> rates(cores.size());
  std::barrier start(shards);
  const auto read = [&](size_t i) {
    RunOnCore(cores[i]);
    benches[i]->Multiply(1);
    start.arrive_and_wait();
    rates[i] = benches[i]->weight_bytes() / UsualSeconds([&] { benches[i]->Multiply(1); });
  };
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < benches.size(); ++i) threads.emplace_back(read, i);
  }
  return std::ranges::min(rates);
}

absl::Status MeasureRate(const PlannedModel& model, const MatrixForm& form,
                         std::span<const int> cores, ClusterFile& cluster) {
  v1::RateConfig& rate = *cluster.config.mutable_device()->add_rates();
  const std::string path =
      absl::StrFormat("device.rates[%d].", cluster.config.device().rates_size() - 1);
  rate.set_dtype(std::string(Name(form.dtype)));
  rate.set_input_major(form.input_major);
  cluster.sources[path + "dtype"] = "the model";
  cluster.sources[path + "input_major"] = "the model";
  TRI_ASSIGN_OR_RETURN(const Extent whole, MakeExtent(model.source.config, {}));
  TRI_ASSIGN_OR_RETURN(const std::unique_ptr<MatrixBench> bench,
                       MatrixBench::Make(model, whole, form));
  const double one = UsualSeconds([&] { bench->Multiply(1); });
  SetMeasured(path + "read_gb_s", bench->weight_bytes() / one / 1e9, cluster);
  const double many = UsualSeconds([&] { bench->Multiply(MatrixBench::kMostTokens); });
  SetMeasured(path + "tflops", bench->flops_per_token() * MatrixBench::kMostTokens / many / 1e12,
              cluster);
  TRI_ASSIGN_OR_RETURN(const double together, ReadTogether(model, form, cores));
  SetMeasured(path + "shared_read_gb_s", together / 1e9, cluster);
  return absl::OkStatus();
}

// Attention of `rows` tokens over kKeys keys that all of them see.
double AttentionSeconds(const ModelConfig& config, Ops& ops, int64_t rows) {
  constexpr int64_t kPages = (kKeys + kPageTokens - 1) / kPageTokens;
  Tensor k = FilledTensor(DType::kF16, {kPages, config.kv_heads, kPageTokens, config.head_dim});
  Tensor v = FilledTensor(DType::kF16, {kPages, config.kv_heads, kPageTokens, config.head_dim});
  const Shape shape{rows, config.query_heads * config.head_dim};
  Tensor q = FilledTensor(DType::kF32, shape);
  Tensor out = FilledTensor(DType::kF32, shape);
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
  return UsualSeconds([&] {
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
  Tensor tiny = FilledTensor(DType::kF32, {1, 16});
  const Tensor other = FilledTensor(DType::kF32, {1, 16});
  const double verb = UsualSeconds([&] {
                        for (int i = 0; i < kTimes; ++i) ops.Add(tiny.view(), other.view());
                      }) /
                      kTimes;
  SetMeasured("overhead.verb_us", verb * 1e6, cluster);
  Tensor x = FilledTensor(DType::kF32, {1, config.hidden});
  Tensor y = FilledTensor(DType::kF32, {1, config.hidden});
  const Tensor norm = FilledTensor(DType::kF32, {config.hidden});
  Tensor gate = FilledTensor(DType::kF32, {1, config.intermediate});
  const Tensor up = FilledTensor(DType::kF32, {1, config.intermediate});
  const double seconds = UsualSeconds([&] {
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
  const double seconds = UsualSeconds([&] { Sample(logits, row); });
  SetMeasured("overhead.sample_us_per_1k", seconds * 1e9 / static_cast<double>(config.vocabulary),
              cluster);
}

// Of one of many exchanges between two ranks, back to back; as often on both.
double ExchangeSeconds(Communicator& comm, int64_t floats, int times) {
  constexpr int kSpans = 16;
  Tensor values = FilledTensor(DType::kF32, {1, floats});
  std::vector<double> spans;
  for (int span = 0; span < kSpans; ++span) {
    spans.push_back(Seconds([&] {
      for (int i = 0; i < times; ++i) comm.TreeSum(values.view(), "measure");
    }));
  }
  return LowOf(spans) / times;
}

// What a tree sum of a hidden row adds to the work of a layer when it follows each, as in a step:
// ranks reach it one after the other, and its memory is no longer in a cache. All ranks start and
// end a run of passes together, so that where they share cores every rank's work counts; runs with
// and without sums take turns, and the median of their differences stands.
double SumSecondsInStep(Communicator& comm, MatrixBench& bench, int64_t hidden, Deadline deadline) {
  constexpr int kPairs = 21;
  constexpr int kPasses = 3;
  Tensor row = FilledTensor(DType::kF32, {1, hidden});
  const auto seconds = [&](absl::FunctionRef<void()> after) {
    comm.Barrier(deadline, "measure").IgnoreError();  // kept in comm.status()
    return Seconds([&] {
      for (int pass = 0; pass < kPasses; ++pass) bench.Multiply(1, after);
      comm.Barrier(deadline, "measure").IgnoreError();
    });
  };
  std::vector<double> differences;
  for (int pair = 0; pair < kPairs; ++pair) {
    const double alone = seconds([] {});
    differences.push_back(seconds([&] { comm.TreeSum(row.view(), "measure"); }) - alone);
  }
  std::ranges::nth_element(differences, differences.begin() + kPairs / 2);
  return std::max(0.0, differences[kPairs / 2]) / static_cast<double>(kPasses * bench.sums());
}

}  // namespace

absl::Status MeasureDevices(const PlannedModel& model, ClusterFile& cluster) {
  const ModelConfig& config = model.source.config;
  cluster.config.mutable_device()->clear_rates();
  std::vector<int> cores = MachineCores();
  const auto devices = static_cast<size_t>(cluster.config.devices_per_node());
  if (cores.size() > devices) cores.resize(devices);
  for (const MatrixForm& form : FormsOf(model)) {
    TRI_RETURN_IF_ERROR(MeasureRate(model, form, cores, cluster));
  }
  const v1::RateConfig& first = cluster.config.device().rates(0);
  SetMeasured("device.memory_bandwidth_gb_s", first.read_gb_s(), cluster);
  SetMeasured("shared.memory_bandwidth_gb_s",
              first.shared_read_gb_s() * static_cast<double>(devices), cluster);
  TRI_ASSIGN_OR_RETURN(const std::unique_ptr<Ops> ops,
                       MakeCpuOps({.threads = 1, .arithmetic = model.arithmetic}));
  MeasureAttention(config, *ops, cluster);
  MeasurePasses(config, *ops, cluster);
  MeasureSampler(config, cluster);
  return absl::OkStatus();
}

absl::Status MeasureLink(const PlannedModel& model, Communicator& world, ClusterFile& cluster) {
  constexpr int64_t kFewFloats = 16;
  constexpr int64_t kManyFloats = 64 << 10;  // what a sum sends at a time
  constexpr int64_t kTimeoutMs = 60'000;
  const Deadline deadline = Deadline::AfterMs(kTimeoutMs);
  const bool of_pair = world.rank() < 2;
  TRI_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> pair,
                       world.Split(of_pair ? 0 : 1, world.rank(), deadline));
  // Between two sums a rank computes with its slices: what ranks wait for each other grows with
  // them.
  const ModelConfig& config = model.source.config;
  TRI_ASSIGN_OR_RETURN(const Extent extent, SliceOf(config, world.rank(), world.size()));
  TRI_ASSIGN_OR_RETURN(const std::unique_ptr<MatrixBench> bench,
                       MatrixBench::Make(model, extent, std::nullopt));
  const auto row_bytes = static_cast<double>(config.hidden) * 4;
  const int devices = cluster.config.devices_per_node();
  double latency = 0;
  if (of_pair) {
    const double few = ExchangeSeconds(*pair, kFewFloats, 100);
    const double many = ExchangeSeconds(*pair, kManyFloats, 10);
    const double per_byte = std::max(many - few, many / 10) / (4.0 * kManyFloats);
    SetMeasured("node_link.bandwidth_gb_s", 1e-9 / per_byte, cluster);
    const double in_step = SumSecondsInStep(*pair, *bench, config.hidden, deadline);
    latency = std::max(few, in_step - row_bytes * per_byte);
    SetMeasured("node_link.latency_us", latency * 1e6, cluster);
    TRI_RETURN_IF_ERROR(pair->status());
  }
  TRI_RETURN_IF_ERROR(world.Barrier(deadline, "measure"));
  if (world.size() > devices && std::has_single_bit(static_cast<unsigned>(world.size()))) {
    const int turns = (world.size() + devices - 1) / devices;
    const double exchanges = std::bit_width(static_cast<unsigned>(world.size())) - 1;
    TRI_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> stage,
                         world.Split(0, world.rank(), deadline));
    const double exchange = SumSecondsInStep(*stage, *bench, config.hidden, deadline) / exchanges;
    TRI_RETURN_IF_ERROR(stage->status());
    if (world.rank() == 0) {
      latency = std::min(latency, exchange / turns);
      SetMeasured("node_link.latency_us", latency * 1e6, cluster);
      SetMeasured("overhead.switch_us", (exchange - turns * latency) * 1e6, cluster);
    }
  }
  return world.Barrier(deadline, "measured");
}

}  // namespace trireme
