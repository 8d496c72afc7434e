// The CPU backend: checks shapes, cuts a verb into tasks, and runs the kernels of the chosen
// instruction set on the thread pool. A verb with little work stays on the calling thread: waking
// others costs microseconds.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/check.h"
#include "runtime/base/thread_pool.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/decode_row.h"
#include "runtime/ops/int8_group.h"
#include "runtime/ops/ops.h"

namespace trireme {
namespace {

// Work below this many multiplications (or values touched) is not worth a second thread.
constexpr int64_t kSmallWork = 32 * 1024;
// Rows of one sequence that share a pass over its keys.
constexpr int64_t kAttentionTokens = 8;
// Outputs of a task on an input-major matrix: whole cache lines.
constexpr int64_t kInputMajorOutputs = 64;

bool IsF32(const ConstTensorView& view) { return view.dtype == DType::kF32; }

class CpuOps final : public Ops {
 public:
  CpuOps(cpu::Target target, const CpuOptions& options)
      : target_(std::move(target)),
        kernels_(target_.kernels),
        arithmetic_(options.arithmetic),
        pool_(options.threads),
        scratch_(static_cast<size_t>(options.threads)),
        parts_(static_cast<size_t>(options.threads)) {}

  std::string name() const override { return absl::StrFormat("cpu %s", target_.name); }
  absl::Status status() const override { return absl::OkStatus(); }
  ThreadPool* pool() override { return &pool_; }

  void Embed(std::span<const int32_t> ids, ConstTensorView table, int64_t first_row,
             TensorView out) override {
    TRI_CHECK_EQ(static_cast<int64_t>(ids.size()), out.rows());
    TRI_CHECK_EQ(table.columns(), out.columns());
    TRI_CHECK(IsF32(out) && IsWeightType(table.dtype));
    const cpu::EmbedArgs args{ids, table, first_row, out};
    ForTokens(out, 1, [&](Range tokens) { kernels_.embed(args, tokens); });
  }

  void RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) override {
    TRI_CHECK(x.shape == out.shape && IsF32(x) && IsF32(out));
    TRI_CHECK(weight.empty() || weight.shape.elements() == x.columns());
    const cpu::NormArgs args{x, weight, eps, out};
    ForTokens(out, 2, [&](Range tokens) { kernels_.rms_norm(args, tokens); });
  }

  void Linear(ConstTensorView x, ConstTensorView w, TensorView out) override {
    whole_.leaves[0] = {0, x.columns()};
    whole_.grain = x.columns();
    LinearLeaves(x, w, 0, whole_, out);
  }

  void LinearLeaves(ConstTensorView x, ConstTensorView w, int64_t w_offset,
                    const LeafSchedule& schedule, TensorView out) override {
    RunLinear({.x = x, .w = w, .w_offset = w_offset, .schedule = &schedule, .out = out});
  }

  void Rope(TensorView x, int64_t head_dim, std::span<const int32_t> positions, ConstTensorView cos,
            ConstTensorView sin, RopeStyle style) override {
    TRI_CHECK(IsF32(x) && IsF32(cos) && IsF32(sin) && head_dim % 2 == 0);
    TRI_CHECK_EQ(x.columns() % head_dim, 0);
    TRI_CHECK_EQ(static_cast<int64_t>(positions.size()), x.rows());
    TRI_CHECK(cos.columns() == head_dim / 2 && sin.columns() == head_dim / 2);
    const cpu::RopeArgs args{x, head_dim, positions, cos, sin, style};
    ForTokens(x, 2, [&](Range tokens) { kernels_.rope(args, tokens); });
  }

  void StoreKv(ConstTensorView k, ConstTensorView v, const RowIndex& rows, KvPages pages) override {
    TRI_CHECK(IsF32(k) && IsF32(v) && k.shape == v.shape);
    TRI_CHECK(pages.k.shape == pages.v.shape && pages.k.shape.rank() == 4);
    if (k.empty()) return;
    TRI_CHECK_EQ(k.columns(), pages.k.shape[1] * pages.k.shape[3]);
    const cpu::StoreKvArgs args{k, v, &rows, pages};
    ForTokens(k, 2, [&](Range tokens) { kernels_.store_kv(args, tokens); });
  }

  void Attention(ConstTensorView q, const RowIndex& rows, const KvPages& pages,
                 const AttentionShape& shape, TensorView out) override {
    TRI_CHECK(IsF32(q) && IsF32(out) && q.shape == out.shape);
    const int64_t tokens = out.rows();
    if (tokens == 0) return;
    TRI_CHECK_EQ(q.columns(), shape.query_heads * shape.head_dim);
    TRI_CHECK_EQ(pages.k.columns(), shape.head_dim);
    TRI_CHECK_EQ(pages.k.shape[1], shape.kv_heads);
    const cpu::AttentionArgs args{q, &rows, &pages, &shape, out};
    const int64_t token_tasks = (tokens + kAttentionTokens - 1) / kAttentionTokens;
    const bool together = HeadsTogether(shape, token_tasks);
    const int64_t head_tasks = together ? shape.kv_heads : shape.query_heads;
    const auto run = [&](Range tasks, cpu::Scratch& scratch) {
      const int64_t task = tasks.begin;
      const int64_t first = task / head_tasks * kAttentionTokens;
      const int64_t head_task = task % head_tasks;
      cpu::AttentionTile tile =
          together ? SharedHeads(shape, head_task) : SingleHead(shape, head_task);
      ForEachSequence(rows, {first, std::min(first + kAttentionTokens, tokens)}, [&](Range same) {
        tile.tokens = same;
        kernels_.attention(args, tile, scratch);
      });
    };
    ForEachTask(token_tasks * head_tasks, 1, run);
  }

  void SiluMul(TensorView gate, ConstTensorView up) override {
    TRI_CHECK(IsF32(gate) && IsF32(up) && gate.shape == up.shape);
    ForTokens(gate, 8, [&](Range tokens) { kernels_.silu_mul(gate, up, tokens); });
  }

  void Add(TensorView x, ConstTensorView y) override {
    TRI_CHECK(IsF32(x) && IsF32(y) && x.shape == y.shape);
    ForTokens(x, 1, [&](Range tokens) { kernels_.add(x, y, tokens); });
  }

  void CopyPages(std::span<const int32_t> copies, TensorView pages) override {
    TRI_CHECK(pages.contiguous() && copies.size() % 2 == 0);
    const int64_t bytes = pages.bytes() / std::max<int64_t>(pages.shape[0], 1);
    for (size_t i = 0; i < copies.size(); i += 2) {
      if (copies[i] == copies[i + 1]) continue;
      std::copy_n(pages.data + copies[i] * bytes, bytes, pages.data + copies[i + 1] * bytes);
    }
  }

  void GatherRows(ConstTensorView x, std::span<const int32_t> rows, TensorView out) override {
    TRI_CHECK(IsF32(x) && IsF32(out) && x.columns() == out.columns());
    TRI_CHECK_EQ(static_cast<int64_t>(rows.size()), out.rows());
    for (int64_t i = 0; i < out.rows(); ++i) {
      std::copy_n(x.row_as<float>(rows[static_cast<size_t>(i)]), x.columns(), out.row_as<float>(i));
    }
  }

  void ScaleByPosition(TensorView x, std::span<const int32_t> positions,
                       ConstTensorView scales) override {
    TRI_CHECK(IsF32(x) && IsF32(scales) && scales.columns() == 1);
    TRI_CHECK_EQ(static_cast<int64_t>(positions.size()), x.rows());
    ForTokens(x, 1, [&](Range tokens) {
      for (int64_t t = tokens.begin; t < tokens.end; ++t) {
        const float scale = *scales.row_as<float>(positions[static_cast<size_t>(t)]);
        cpu::ScaleRow({x.row_as<float>(t), static_cast<size_t>(x.columns())}, scale);
      }
    });
  }

  void Route(ConstTensorView logits, const Routing& routing) override {
    TRI_CHECK(IsF32(logits) && routing.per_token <= logits.columns());
    TRI_CHECK_EQ(static_cast<int64_t>(routing.experts.size()), logits.rows() * routing.per_token);
    TRI_CHECK_EQ(static_cast<int64_t>(routing.loads.size()), logits.columns());
    TRI_CHECK_EQ(static_cast<int64_t>(routing.offsets.size()), routing.held.size() + 1);
    cpu::Route(logits, routing);
  }

  void GatherExperts(ConstTensorView x, const Routing& routing, TensorView out) override {
    TRI_CHECK(IsF32(x) && IsF32(out) && x.columns() == out.columns());
    const TensorView used = out.Rows({0, routing.offsets.back()});
    ForTokens(used, 1, [&](Range rows) {
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        const int32_t slot = routing.rows[static_cast<size_t>(i)];
        float* to = used.row_as<float>(i);
        std::copy_n(x.row_as<float>(slot / routing.per_token), x.columns(), to);
        cpu::ScaleRow({to, static_cast<size_t>(x.columns())},
                      routing.scores[static_cast<size_t>(slot)]);
      }
    });
  }

  void ExpertLinear(ConstTensorView x, std::span<const ExpertMatrix> experts,
                    const Routing& routing, const LeafSchedule* schedule, TensorView out) override {
    TRI_CHECK_EQ(experts.size() + 1, routing.offsets.size());
    whole_.leaves[0] = {0, x.columns()};
    whole_.grain = x.columns();
    for (size_t e = 0; e < experts.size(); ++e) {
      const Range rows{routing.offsets[e], routing.offsets[e + 1]};
      if (rows.empty()) continue;
      const ExpertMatrix& matrix = experts[e];
      RunLinear({.x = x.Rows(rows),
                 .w = matrix.values,
                 .w_offset = matrix.offset,
                 .schedule = schedule == nullptr ? &whole_ : schedule,
                 .out = out.Rows(rows),
                 .scales = matrix.scales,
                 .input_major = matrix.input_major});
    }
  }

  void ScatterExperts(ConstTensorView x, const Routing& routing, TensorView out) override {
    TRI_CHECK(IsF32(x) && IsF32(out) && x.columns() == out.columns());
    for (int64_t slot = 0; slot < out.rows(); ++slot) {
      std::fill_n(out.row_as<float>(slot), out.columns(), 0.0f);
    }
    for (int64_t i = 0; i < routing.offsets.back(); ++i) {
      const int32_t slot = routing.rows[static_cast<size_t>(i)];
      // Added to the zeros, so that a sum of -0 becomes the +0 of a rank without the expert.
      kernels_.add(out.Rows({slot, slot + 1}), x.Rows({i, i + 1}), {0, 1});
    }
  }

 private:
  void RunLinear(const cpu::LinearArgs& args) {
    TRI_CHECK(IsF32(args.out));
    const int64_t tokens = args.out.rows();
    const int64_t outputs = args.out.columns();
    if (tokens == 0 || outputs == 0) return;
    const std::vector<Range>& leaves = args.schedule->leaves;
    const bool nothing_to_add = leaves.empty() || leaves.back().end == 0;
    if (nothing_to_add) {
      for (int64_t t = 0; t < tokens; ++t) std::fill_n(args.out.row_as<float>(t), outputs, 0.0f);
      return;
    }
    const int64_t width = leaves.back().end;
    const bool flipped = args.input_major;
    TRI_CHECK(IsF32(args.x) && IsWeightType(args.w.dtype));
    TRI_CHECK(!flipped || !IsBlockType(args.w.dtype));
    TRI_CHECK_EQ(args.x.rows(), tokens);
    TRI_CHECK_EQ(flipped ? args.w.columns() : args.w.rows(), outputs);
    TRI_CHECK_LE(width, args.x.columns());
    TRI_CHECK_LE(width + args.w_offset, flipped ? args.w.rows() : args.w.columns());
    TRI_CHECK(args.scales.empty() || args.scales.columns() == outputs);
    if (arithmetic_ == Arithmetic::kNative && MultipliesInInt8(args)) return RunLinearInt8(args);
    if (MultipliesInBf16(args)) return RunLinearBf16(args);
    // A task is eight rows, which is what the kernels multiply at a time.
    const int64_t task_outputs = flipped ? kInputMajorOutputs : 8;
    const int64_t tasks = (outputs + task_outputs - 1) / task_outputs;
    const int64_t at_once = TasksAtOnce(tasks, outputs * tokens * width);
    const auto kernel = flipped && tokens <= cpu::kMaxInputMajorTokens ? kernels_.linear_input_major
                                                                       : kernels_.linear;
    ForEachTask(tasks, at_once, [&](Range taken, cpu::Scratch& scratch) {
      kernel(args, {taken.begin * task_outputs, std::min(taken.end * task_outputs, outputs)},
             scratch);
    });
  }

  static bool MultipliesInInt8(const cpu::LinearArgs& args) {
    return HasInt8Groups(args.w.dtype) && args.scales.empty() && CutsIntoInt8Groups(*args.schedule);
  }

  void RunLinearInt8(const cpu::LinearArgs& args) {
    const std::vector<Range>& leaves = args.schedule->leaves;
    const int64_t tokens = args.out.rows();
    const int64_t outputs = args.out.columns();
    const int64_t width = leaves.back().end;
    TRI_CHECK_EQ(args.w_offset % kInt8Group, 0);
    const auto x =
        cpu::Int8Rows::In(narrow_.Bytes(tokens * width / kInt8Group * cpu::Int8Rows::kGroupBytes),
                          tokens, width / kInt8Group);
    ForTokens(args.x, 2, [&](Range rows) { target_.int8.quantize(args.x, x, rows); });
    const cpu::Int8LinearArgs narrow{x, args.w, args.w_offset, args.schedule, args.out};
    const int64_t tasks = (outputs + cpu::kInt8Outputs - 1) / cpu::kInt8Outputs;
    ForEachTask(tasks, TasksAtOnce(tasks, outputs * tokens * width),
                [&](Range taken, cpu::Scratch& scratch) {
                  target_.int8.linear(narrow,
                                      {taken.begin * cpu::kInt8Outputs,
                                       std::min(taken.end * cpu::kInt8Outputs, outputs)},
                                      scratch);
                });
  }

  bool MultipliesInBf16(const cpu::LinearArgs& args) const {
    return arithmetic_ == Arithmetic::kNative && target_.bf16.linear != nullptr &&
           args.w.dtype == DType::kBF16 && args.scales.empty();
  }

  void RunLinearBf16(const cpu::LinearArgs& args) {
    const int64_t tokens = args.out.rows();
    const int64_t outputs = args.out.columns();
    cpu::Bf16Rows x{nullptr, tokens, cpu::Bf16Rows::PairsOf(*args.schedule)};
    x.words = reinterpret_cast<uint32_t*>(narrow_.Floats(x.Words()));
    ForEachTask(cpu::Bf16Tiling(tokens).count(), 1, [&](Range tiles, cpu::Scratch&) {
      target_.bf16.round(args.x, *args.schedule, x, tiles);
    });
    const cpu::Bf16LinearArgs narrow{x, args.w, args.w_offset, args.schedule, args.out};
    const auto kernel = args.input_major ? target_.bf16.linear_input_major : target_.bf16.linear;
    const int64_t task_outputs = args.input_major ? kInputMajorOutputs : cpu::kBf16Outputs;
    const int64_t tasks = (outputs + task_outputs - 1) / task_outputs;
    ForEachTask(tasks, TasksAtOnce(tasks, outputs * x.pairs * tokens),
                [&](Range taken, cpu::Scratch& scratch) {
                  kernel(narrow,
                         {taken.begin * task_outputs, std::min(taken.end * task_outputs, outputs)},
                         scratch);
                });
  }

  // Runs body(tasks, scratch) until every task has been in one of the ranges, `at_once` tasks at
  // most. Each thread walks a part of its own, so that the memory it reads is one stream (threads
  // that take turns prefetch what the next will read), and then helps with what is left of others'.
  template <typename Body>
  void ForEachTask(int64_t tasks, int64_t at_once, const Body& body) {
    const int64_t parts = std::min<int64_t>(pool_.threads(), (tasks + at_once - 1) / at_once);
    for (int64_t part = 0; part < parts; ++part) {
      parts_[static_cast<size_t>(part)].next.store(tasks * part / parts, std::memory_order_relaxed);
    }
    pool_.ParallelFor(parts, [&](int64_t worker) {
      cpu::Scratch& scratch = scratch_[static_cast<size_t>(worker)];
      for (int64_t i = 0; i < parts; ++i) {
        const int64_t part = (worker + i) % parts;
        std::atomic<int64_t>& next = parts_[static_cast<size_t>(part)].next;
        const int64_t end = tasks * (part + 1) / parts;
        // Looked at before it is taken: most parts have been walked to their end by then.
        while (next.load(std::memory_order_relaxed) < end) {
          const int64_t begin = next.fetch_add(at_once, std::memory_order_relaxed);
          if (begin < end) body(Range{begin, std::min(begin + at_once, end)}, scratch);
        }
      }
    });
  }

  // Cuts the rows of `activations` into a range a thread; `cost` is the work of one value.
  template <typename Body>
  void ForTokens(ConstTensorView activations, int64_t cost, const Body& body) {
    const int64_t tokens = activations.rows();
    if (tokens == 0) return;
    const int64_t work = tokens * activations.columns() * cost;
    const int64_t tasks =
        std::clamp<int64_t>(work / kSmallWork, 1, std::min<int64_t>(tokens, pool_.threads()));
    ForEachTask(tasks, 1, [&](Range task, cpu::Scratch&) {
      body(Range{tokens * task.begin / tasks, tokens * task.end / tasks});
    });
  }

  // Several takes a thread, so that a late one does not hold up the verb, but none of little work.
  int64_t TasksAtOnce(int64_t tasks, int64_t work) const {
    if (pool_.threads() == 1) return tasks;
    const int64_t takes =
        std::clamp<int64_t>(work / kSmallWork, 1, 8 * static_cast<int64_t>(pool_.threads()));
    return (tasks + takes - 1) / takes;
  }

  // Heads that share keys go together, so that keys are brought to fp32 once, unless that leaves
  // threads idle for longer. (Measured: loading a chunk takes twice what a head does with it.)
  bool HeadsTogether(const AttentionShape& shape, int64_t token_tasks) const {
    const auto turns = [&](int64_t tasks) {
      return (tasks + pool_.threads() - 1) / pool_.threads();
    };
    return turns(token_tasks * shape.kv_heads) * (2 + shape.group) <=
           turns(token_tasks * shape.query_heads) * (2 + 1);
  }

  static cpu::AttentionTile SingleHead(const AttentionShape& shape, int64_t head) {
    return {
        {}, {head, head + 1}, (head + shape.first_query_head) / shape.group - shape.first_kv_head};
  }

  static cpu::AttentionTile SharedHeads(const AttentionShape& shape, int64_t kv_head) {
    const int64_t first = (kv_head + shape.first_kv_head) * shape.group - shape.first_query_head;
    return {{},
            {std::max<int64_t>(first, 0), std::min(first + shape.group, shape.query_heads)},
            kv_head};
  }

  // Calls body(range) for each run of rows of one sequence.
  template <typename Body>
  static void ForEachSequence(const RowIndex& rows, Range tokens, const Body& body) {
    for (int64_t begin = tokens.begin; begin < tokens.end;) {
      int64_t end = begin + 1;
      while (end < tokens.end && rows.sequences[static_cast<size_t>(end)] ==
                                     rows.sequences[static_cast<size_t>(begin)]) {
        ++end;
      }
      body(Range{begin, end});
      begin = end;
    }
  }

  const cpu::Target target_;
  const cpu::KernelTable& kernels_;
  const Arithmetic arithmetic_;
  ThreadPool pool_;
  // The first task of a part of the work that nobody has taken.
  struct alignas(64) Part {
    std::atomic<int64_t> next{0};
  };
  cpu::Scratch narrow_;                  // activations in int8 or in BF16
  std::vector<cpu::Scratch> scratch_;    // one a thread
  std::vector<Part> parts_;              // one a thread
  LeafSchedule whole_{{{0, 0}}, {}, 0};  // Linear's schedule: one leaf
};

}  // namespace

std::vector<std::string> CpuTargets() {
  std::vector<std::string> names;
  for (const cpu::Target& target : cpu::SupportedTargets()) names.push_back(target.name);
  return names;
}

bool HasBf16Products(std::string_view target) {
  for (const cpu::Target& supported : cpu::SupportedTargets()) {
    if (supported.name == target) return supported.bf16.linear != nullptr;
  }
  return false;
}

absl::StatusOr<std::unique_ptr<Ops>> MakeCpuOps(const CpuOptions& options) {
  if (options.threads < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("threads must be at least 1; got %d", options.threads));
  }
  const std::vector<cpu::Target> targets = cpu::SupportedTargets();
  if (targets.empty()) {
    return absl::FailedPreconditionError(
        "this processor has no fused multiply-add in its vector unit, which the numerics need; run "
        "on "
        "an x86-64 processor with AVX2 and FMA (2013 or later) or on a 64-bit Arm");
  }
  for (const cpu::Target& target : targets) {
    if (options.target.empty() || options.target == target.name) {
      return std::make_unique<CpuOps>(target, options);
    }
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("target must be one that this machine runs (%s); got \"%s\"",
                      absl::StrJoin(CpuTargets(), ", "), options.target));
}

}  // namespace trireme
