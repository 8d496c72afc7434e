#include "launcher/planner/search.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

MemoryOptions OptionsOf(const ModelConfig& config, const Workload& workload, int64_t context) {
  const int64_t pages = (context + workload.page_tokens - 1) / workload.page_tokens;
  MemoryOptions options{.kv_dtype = workload.kv_dtype,
                        .pages = pages * workload.batch,
                        .page_tokens = workload.page_tokens,
                        .limits = {.max_step_tokens = workload.max_step_tokens,
                                   .max_positions = std::max(workload.max_positions, context)}};
  options.chunk_pages = ChunkPagesFor(config, workload.batch, options);
  return options;
}

// Of `bytes` in windows of the given size, what so many touches at random reach.
double Reached(double bytes, double window, double touches) {
  if (bytes <= window) return bytes;
  return bytes * -std::expm1(touches * std::log1p(-window / bytes));
}

// Of a checkpoint's mapped files; a table that is looked up and experts count as far as the
// workload's tokens reach them.
int64_t MappedBytes(const ModelConfig& config, const RankLoad& load, const Workload& workload) {
  auto bytes = static_cast<double>(load.mapped_bytes);
  const auto tokens = static_cast<double>(workload.batch * workload.context);
  if (config.experts) {
    bytes += static_cast<double>(load.mapped_routed_bytes) * ShareOfExperts(config, tokens);
  }
  if (load.lookup_bytes == 0) return static_cast<int64_t>(bytes);
  const double share =
      static_cast<double>(load.extent.vocabulary.size()) / static_cast<double>(config.vocabulary);
  const double window = std::max<double>(kFaultAround, static_cast<double>(load.lookup_row_bytes));
  bytes += Reached(static_cast<double>(load.lookup_bytes), window, share * tokens);
  return static_cast<int64_t>(bytes);
}

// What a run of the workload touches of the scratch: rows that its steps fill.
int64_t TouchedScratch(const ModelConfig& config, const Extent& extent, const Workload& workload,
                       const StepLimits& limits) {
  StepLimits used = limits;
  used.max_step_tokens =
      std::min(limits.max_step_tokens, std::max(workload.prompt, workload.batch));
  const StepScratch scratch = ScratchOf(config, extent, used);
  const auto rows = [](const Shape& shape) { return shape[0]; };
  const int64_t untouched = std::max<int64_t>(0, rows(scratch.shard_logits) - workload.batch);
  const int64_t width = scratch.head_rows[1] + scratch.shard_logits[1] + scratch.sample_work[1];
  return scratch.bytes() - untouched * width * int64_t{sizeof(float)};
}

// Groups that stand beside each other: as devices allow, and where a node's memory is shared, as
// that does.
int GroupsOf(const Cluster& cluster, const MeshPlan& plan) {
  const int by_devices = std::max(1, cluster.devices() / plan.mesh.ranks());
  if (cluster.shared_memory_bytes == 0) return by_devices;
  double needed = 0;
  for (const RankMemory& rank : plan.ranks) needed += static_cast<double>(rank.total());
  const double memory = cluster.shared_memory_bytes * cluster.nodes;
  return std::clamp(static_cast<int>(memory / needed), 1, by_devices);
}

// A process without its model; the leader has the tokenizer too.
int64_t ProcessBytes(const Cluster& cluster, const ModelConfig& config, const Mesh& mesh,
                     int rank) {
  double bytes = cluster.process_bytes;
  if (mesh.ranks() > 1) bytes += cluster.transport_bytes;
  if (rank == kLeaderRank) {
    bytes += cluster.tokenizer_bytes_per_token * static_cast<double>(config.vocabulary);
  }
  return static_cast<int64_t>(bytes);
}

bool Fits(const ModelConfig& config, const std::vector<RankLoad>& loads,
          const std::vector<RankMemory>& ranks, const MemoryOptions& options) {
  for (size_t i = 0; i < loads.size(); ++i) {
    const MemoryPlan plan = PlanMemory(loads[i].weight_bytes, config, loads[i].extent, options);
    if (plan.total() + ranks[i].process > ranks[i].available) return false;
  }
  return true;
}

// In whole pages, up to the model's own limit.
int64_t LongestContext(const ModelConfig& config, const std::vector<RankLoad>& loads,
                       const std::vector<RankMemory>& ranks, const Workload& workload) {
  int64_t fits = 0;
  int64_t refused = (config.max_positions + workload.page_tokens - 1) / workload.page_tokens + 1;
  while (refused - fits > 1) {
    const int64_t pages = fits + (refused - fits) / 2;
    const MemoryOptions options = OptionsOf(config, workload, pages * workload.page_tokens);
    (Fits(config, loads, ranks, options) ? fits : refused) = pages;
  }
  return std::min(fits * workload.page_tokens, config.max_positions);
}

std::vector<Mesh> Candidates(const ModelConfig& config, const Cluster& cluster,
                             const MeshRequest& request) {
  // A request for one mesh may take more ranks than there are devices: they take turns.
  const bool whole = request.pp && request.tp;
  const int limit = whole ? kMaxStages * kMaxShards : cluster.devices();
  std::vector<Mesh> meshes;
  for (int ep = 1; ep <= kMaxShards; ep *= 2) {
    if (request.ep.value_or(request.tp && whole ? 1 : ep) != ep) continue;
    for (int tp = 1; tp * ep <= kMaxShards; tp *= 2) {
      if (request.tp.value_or(tp) != tp) continue;
      for (int pp = 1; pp <= std::min<int64_t>(config.layers, kMaxStages); ++pp) {
        if (request.pp.value_or(pp) != pp) continue;
        const Mesh mesh{.pp = pp, .ep = ep, .tp = tp};
        if (mesh.ranks() > limit) break;
        if (CheckMesh(config, mesh).ok()) meshes.push_back(mesh);
      }
    }
  }
  return meshes;
}

// OK when each axis that was asked for can divide the model.
absl::Status CheckRequest(const ModelConfig& config, const MeshRequest& request) {
  return CheckMesh(
      config,
      {.pp = request.pp.value_or(1), .ep = request.ep.value_or(1), .tp = request.tp.value_or(1)});
}

std::string Milliseconds(double seconds) { return absl::StrFormat("%.2f ms", seconds * 1e3); }

std::string WhyNothingFits(const std::vector<MeshPlan>& plans) {
  if (plans.empty()) return "no mesh of these devices divides the model";
  const auto most_lacking = [](const MeshPlan& plan) {
    return plan.ranks[plan.tightest_rank()].lacking();
  };
  const MeshPlan& closest = *std::ranges::min_element(plans, {}, most_lacking);
  return absl::StrFormat(
      "no mesh fits: nearest is %s, whose rank %d lacks %.2f GB; take more devices, a shorter "
      "context, a smaller batch or fewer bits a weight",
      closest.mesh.ToString(), closest.tightest_rank(),
      static_cast<double>(most_lacking(closest)) / 1e9);
}

Recommendation Recommend(const std::vector<MeshPlan>& plans) {
  Recommendation chosen;
  size_t fitting = 0;
  const MeshPlan* cheapest = nullptr;
  for (const MeshPlan& plan : plans) {
    if (!plan.fits) continue;
    ++fitting;
    if (cheapest == nullptr ||
        plan.cluster_tokens_per_second() > cheapest->cluster_tokens_per_second()) {
      cheapest = &plan;
    }
  }
  if (fitting == 0) return {.plan = std::nullopt, .why = WhyNothingFits(plans)};
  const MeshPlan& best = plans.front();
  chosen.plan = 0;
  chosen.why = absl::StrFormat("%s has the shortest step, %s, of the %d that fit",
                               best.mesh.ToString(), Milliseconds(best.decode.total()), fitting);
  if (fitting > 1) {
    const double next = plans[1].decode.total();
    absl::StrAppendFormat(&chosen.why, "; next is %s, %.0f %% slower", plans[1].mesh.ToString(),
                          100 * (next / best.decode.total() - 1));
  }
  if (cheapest != &best) {
    absl::StrAppendFormat(
        &chosen.why, "; most tokens a second from the whole cluster: %d group%s of %s, %.0f%% more",
        cheapest->groups, cheapest->groups == 1 ? "" : "s", cheapest->mesh.ToString(),
        100 * (cheapest->cluster_tokens_per_second() / best.cluster_tokens_per_second() - 1));
  }
  return chosen;
}

}  // namespace

size_t MeshPlan::tightest_rank() const {
  const auto tightest = std::ranges::max_element(ranks, {}, &RankMemory::lacking);
  return static_cast<size_t>(tightest - ranks.begin());
}

double MeshPlan::tokens_per_second() const { return static_cast<double>(batch) / decode.total(); }

absl::StatusOr<MeshPlan> PlanMesh(const PlannedModel& model, const Cluster& cluster,
                                  const Mesh& mesh, const Workload& workload) {
  const ModelConfig& config = model.source.config;
  TRI_RETURN_IF_ERROR(CheckMesh(config, mesh));
  TRI_ASSIGN_OR_RETURN(const std::vector<RankLoad> loads, LoadsOf(model, mesh));
  const CostModel cost(cluster, config, mesh, loads, workload.kv_dtype);
  MeshPlan plan;
  plan.mesh = mesh;
  plan.batch = workload.batch;
  plan.takes_turns = mesh.ranks() > cluster.devices();
  const MemoryOptions options = OptionsOf(config, workload, workload.context);
  const int per_node =
      std::max(cluster.devices_per_node, (mesh.ranks() + cluster.nodes - 1) / cluster.nodes);
  for (const RankLoad& load : loads) {
    RankMemory rank;
    rank.plan = PlanMemory(load.weight_bytes, config, load.extent, options);
    rank.node = cost.NodeOf(load.rank);
    rank.process = ProcessBytes(cluster, config, mesh, load.rank);
    const int sharing = std::clamp(mesh.ranks() - rank.node * per_node, 1, per_node);
    const double memory = cluster.shared_memory_bytes > 0 ? cluster.shared_memory_bytes / sharing
                                                          : cluster.device_memory_bytes;
    rank.available = static_cast<int64_t>(memory);
    rank.resident = rank.process + MappedBytes(config, load, workload) + rank.plan.kv +
                    TouchedScratch(config, load.extent, workload, options.limits);
    plan.ranks.push_back(rank);
  }
  plan.groups = GroupsOf(cluster, plan);
  plan.fits = plan.ranks[plan.tightest_rank()].lacking() <= 0;
  plan.longest_context = LongestContext(config, loads, plan.ranks, workload);
  plan.decode = cost.Decode(workload.batch, workload.context);
  plan.prefill = cost.Prefill(workload.prompt, workload.max_step_tokens);
  if (cluster.price_per_device_hour > 0) {
    const double devices = std::min(mesh.ranks(), cluster.devices());
    const double per_second = cluster.price_per_device_hour * devices / 3600;
    plan.price_per_million = per_second / plan.tokens_per_second() * 1e6;
  }
  return plan;
}

absl::StatusOr<PlanResult> SearchMeshes(const PlannedModel& model, const Cluster& cluster,
                                        const MeshRequest& request, const Workload& workload) {
  PlanResult result;
  if (const std::optional<Mesh> own = model.source.mesh()) {
    TRI_ASSIGN_OR_RETURN(const Mesh mesh, ChooseMesh(model.source, request));
    TRI_ASSIGN_OR_RETURN(MeshPlan plan, PlanMesh(model, cluster, mesh, workload));
    result.plans.push_back(std::move(plan));
  } else {
    TRI_RETURN_IF_ERROR(CheckRequest(model.source.config, request));
    for (const Mesh& mesh : Candidates(model.source.config, cluster, request)) {
      TRI_ASSIGN_OR_RETURN(MeshPlan plan, PlanMesh(model, cluster, mesh, workload));
      result.plans.push_back(std::move(plan));
    }
  }
  std::stable_sort(result.plans.begin(), result.plans.end(),
                   [](const MeshPlan& a, const MeshPlan& b) {
                     if (a.fits != b.fits) return a.fits;
                     return a.decode.total() < b.decode.total();
                   });
  result.recommended = Recommend(result.plans);
  return result;
}

}  // namespace trireme
