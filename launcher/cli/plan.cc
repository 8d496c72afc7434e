// trireme plan: which mesh for a model on a cluster, from headers alone.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "launcher/group/launch_environment.h"
#include "launcher/planner/measure.h"
#include "launcher/planner/plan_report.h"
#include "launcher/planner/search.h"
#include "parallel/comm/flight_ring.h"
#include "parallel/comm/mpi_comm.h"
#include "runtime/base/status_macros.h"
#include "runtime/base/thread_pool.h"
#include "runtime/kv/page_pool.h"
#include "runtime/ops/ops.h"

namespace trireme {
namespace {

struct PlanFlags {
  std::string model;
  std::string cluster;
  MeshRequest mesh;
  Workload workload;
  Arithmetic compute = Arithmetic::kNative;
  std::optional<DType> kv_dtype;  // else as --compute says
  Quantization quantization = Quantization::kNone;
  bool measure = false;
  std::string save;
  std::string output = "text";
  size_t rows = 20;
};

void AddFlags(CLI::App& app, PlanFlags& flags) {
  constexpr int64_t kMost = int64_t{1} << 24;
  Workload& workload = flags.workload;
  app.add_option("--model", flags.model, "checkpoint directory, GGUF file or shard directory")
      ->required();
  app.add_option("--cluster", flags.cluster,
                 "YAML of the cluster, configs/clusters/*.yaml (default: this machine)");
  app.add_option("--batch", workload.batch, "sequences of a group")
      ->check(CLI::Range(int64_t{1}, int64_t{65'536}))
      ->capture_default_str();
  app.add_option("--context", workload.context,
                 "positions of each (default: the model's, at most 4096)")
      ->check(CLI::Range(int64_t{1}, kMost));
  app.add_option("--prompt", workload.prompt, "tokens of a prompt (default: half the context)")
      ->check(CLI::Range(int64_t{1}, kMost));
  app.add_option("--max-step-tokens", workload.max_step_tokens, "rows in one step")
      ->check(CLI::Range(int64_t{1}, int64_t{65'536}))
      ->capture_default_str();
  app.add_option("--tp", flags.mesh.tp, "only meshes of so many tensor-parallel ranks");
  app.add_option("--pp", flags.mesh.pp, "only meshes of so many stages");
  app.add_option("--ep", flags.mesh.ep, "only meshes of so many expert-parallel ranks");
  app.add_option_function<std::string>(
         "--compute",
         [&flags](const std::string& name) {
           const bool fp32 = name == "fp32";
           flags.compute = fp32 ? Arithmetic::kFp32 : Arithmetic::kNative;
           flags.workload.kv_dtype = fp32 ? DType::kF32 : DType::kF16;
         },
         "native: narrow dot products, fp16 KV cache; fp32: neither")
      ->check(CLI::IsMember({"native", "fp32"}));
  app.add_option_function<std::string>(
         "--kv-dtype",
         [&flags](const std::string& name) { flags.kv_dtype = KvDTypesByName().at(name); },
         "the KV cache, whatever --compute")
      ->check(CLI::IsMember(KvDTypesByName()));
  app.add_option_function<std::string>(
         "--quant",
         [&flags](const std::string& name) { flags.quantization = *QuantizationFromName(name); },
         "as `trireme shard --quant` would store the matrices of a checkpoint")
      ->check(CLI::IsMember({"none", "int8", "int4"}));
  app.add_flag("--measure", flags.measure,
               "measure this machine's constants; under mpirun -n N its links too");
  app.add_option("--save-cluster", flags.save, "write the constants as YAML for --cluster");
  app.add_option("--rows", flags.rows, "meshes in the table")->capture_default_str();
  app.add_option("--output", flags.output)
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.footer(Examples(
      "trireme plan --model models/maverick --cluster configs/clusters/h200-8.yaml --batch 32",
      "trireme plan --model model.gguf --tp 2 --pp 1 --output json"));
}

absl::Status CompleteWorkload(const ModelConfig& config, Workload& workload) {
  constexpr int64_t kDefaultContext = 4096;
  if (workload.context == 0) workload.context = std::min(config.max_positions, kDefaultContext);
  if (workload.context > config.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--context: expected at most the model's %d positions; got %d",
                        config.max_positions, workload.context));
  }
  if (workload.prompt == 0) workload.prompt = std::max<int64_t>(1, workload.context / 2);
  if (workload.prompt > workload.context) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "--prompt: expected at most the context (%d); got %d", workload.context, workload.prompt));
  }
  workload.max_positions = std::min(config.max_positions, kDefaultMaxPositions);
  return absl::OkStatus();
}

// Until the leader has measured. A barrier would look for the others all the while, on the very
// cores that are measured.
absl::Status SleepWhileMeasured(Communicator& world, Deadline deadline) {
  while (!world.Probe(kLeaderRank) && !deadline.Passed()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return world.RecvMessage(kLeaderRank, 0, deadline, "devices measured").status();
}

absl::Status MeasureAsLeader(const PlannedModel& model, Communicator& world, Deadline deadline,
                             ClusterFile& cluster) {
  TRI_RETURN_IF_ERROR(MeasureDevices(model, cluster));
  for (int rank = 1; rank < world.size(); ++rank) {
    TRI_RETURN_IF_ERROR(world.SendMessage(rank, {}, deadline, "devices measured"));
  }
  return absl::OkStatus();
}

// Replaces constants by measurements; true on the rank that goes on to plan.
absl::StatusOr<bool> Measure(const PlannedModel& model, bool many, ClusterFile& cluster) {
  constexpr int64_t kTimeoutMs = 60'000;
  if (!many) {
    TRI_RETURN_IF_ERROR(MeasureDevices(model, cluster));
    return true;
  }
  FlightRing ring;
  TRI_ASSIGN_OR_RETURN(const std::unique_ptr<MpiSession> mpi,
                       MpiSession::Start({.start_timeout = std::chrono::milliseconds(kTimeoutMs),
                                          .stuck_exit_code = kExitRankLost,
                                          .threads_per_rank = 1}));
  {
    const std::unique_ptr<Communicator> world = mpi->World(ring);
    const Deadline deadline = Deadline::AfterMs(kTimeoutMs);
    TRI_RETURN_IF_ERROR(mpi->rank() == kLeaderRank
                            ? MeasureAsLeader(model, *world, deadline, cluster)
                            : SleepWhileMeasured(*world, deadline));
    TRI_RETURN_IF_ERROR(MeasureLink(model, *world, cluster));
  }
  const bool leads = mpi->rank() == kLeaderRank;
  TRI_RETURN_IF_ERROR(mpi->Finish(std::chrono::milliseconds(kTimeoutMs)));
  return leads;
}

absl::Status SaveCluster(const ClusterFile& cluster, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  file << ClusterYaml(cluster);
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(absl::StrFormat("cannot write %s", path));
}

absl::StatusOr<int> Plan(PlanFlags& flags) {
  const LaunchEnvironment launch = ReadLaunchEnvironment();
  TRI_ASSIGN_OR_RETURN(const bool many, IsOneOfManyRanks(launch));
  // mpirun binds a rank to a core, but the others are there.
  const bool by_mpirun = !launch.ompi_comm_world_size.empty();
  ClusterFile cluster =
      ThisMachine(by_mpirun ? static_cast<int>(MachineCores().size()) : AvailableCores());
  if (!flags.cluster.empty()) {
    TRI_ASSIGN_OR_RETURN(cluster, LoadClusterConfig(flags.cluster));
  }
  TRI_ASSIGN_OR_RETURN(ModelSource source, DescribeModel(flags.model));
  if (flags.measure && flags.quantization != Quantization::kNone) {
    return absl::InvalidArgumentError(
        "--measure times the matrices that are there: shard with --quant, and measure the shards");
  }
  TRI_RETURN_IF_ERROR(Quantize(flags.quantization, source));
  TRI_RETURN_IF_ERROR(CompleteWorkload(source.config, flags.workload));
  flags.workload.kv_dtype = flags.kv_dtype.value_or(flags.workload.kv_dtype);
  TRI_RETURN_IF_ERROR(CheckKvDType(flags.workload.kv_dtype, source.config.head_dim));
  TRI_ASSIGN_OR_RETURN(PlannedModel model, PlanModel(source));
  model.arithmetic = flags.compute;
  if (flags.measure) {
    TRI_ASSIGN_OR_RETURN(const bool leads, Measure(model, many, cluster));
    if (!leads) return kExitOk;
  }
  if (!flags.save.empty()) TRI_RETURN_IF_ERROR(SaveCluster(cluster, flags.save));
  TRI_ASSIGN_OR_RETURN(const PlanResult result,
                       SearchMeshes(model, Cluster(cluster.config), flags.mesh, flags.workload));
  const PlanReport report{model, cluster, flags.workload, result};
  if (flags.output == "json") {
    absl::PrintF("%s\n", PlanJson(report));
  } else {
    absl::PrintF("%s", PlanText(report, flags.rows));
  }
  return result.recommended.plan ? kExitOk : kExitFailed;
}

}  // namespace

int RunPlan(int argc, char** argv) {
  CLI::App app(
      "Plans a mesh: what each rank holds, how long a step takes and what it costs, from headers.",
      "trireme plan");
  PlanFlags flags;
  AddFlags(app, flags);
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  const absl::StatusOr<int> code = Plan(flags);
  return code.ok() ? *code : FailCommand("plan", code.status(), "trireme plan --help");
}

}  // namespace trireme
