#include "launcher/group/group_session.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "launcher/exit_codes.h"
#include "launcher/group/available_memory.h"
#include "launcher/group/launch_environment.h"
#include "launcher/group/rank_trace.h"
#include "parallel/comm/flight_ring.h"
#include "parallel/comm/mpi_comm.h"
#include "parallel/group/doorbell.h"
#include "parallel/group/group_executor.h"
#include "parallel/group/start.h"
#include "parallel/group/watch.h"
#include "parallel/shards/verify.h"
#include "runtime/base/check.h"
#include "runtime/base/log.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"
#include "runtime/base/thread_pool.h"
#include "runtime/engine/grammar_vocabulary.h"
#include "runtime/kv/page_pool.h"
#include "runtime/model/memory_plan.h"
#include "runtime/stage/local_executor.h"
#include "runtime/stage/stage.h"

namespace trireme {
namespace {

constexpr int64_t kStartTimeoutMs = 60'000;
constexpr int64_t kTransportTestMs = 2'000;
constexpr int64_t kLeaveTimeoutMs = 5'000;

int ThreadsOf(const GroupOptions& options) {
  if (options.threads > 0) return options.threads;
  return std::max(1, AvailableCores() / LocalRanks());
}

int64_t MaxPositions(const GroupOptions& options, const ModelConfig& config) {
  if (options.max_positions > 0) return std::min(options.max_positions, config.max_positions);
  return std::min(config.max_positions, kDefaultMaxPositions);
}

DType KvDType(const GroupOptions& options) {
  return options.kv_dtype.value_or(options.compute == Arithmetic::kFp32 ? DType::kF32
                                                                        : DType::kF16);
}

int64_t PagesFor(int64_t positions) { return (positions + kPageTokens - 1) / kPageTokens; }

MemoryOptions MemoryOf(const GroupOptions& options, const ModelConfig& config, int64_t pages) {
  MemoryOptions memory{.kv_dtype = KvDType(options),
                       .pages = pages,
                       .page_tokens = kPageTokens,
                       .limits = {.max_step_tokens = options.max_step_tokens,
                                  .max_positions = MaxPositions(options, config)}};
  memory.chunk_pages = ChunkPagesFor(config, options.max_sequences, memory);
  return memory;
}

// Pages that this rank would give the KV cache: what the flags ask for, or as many as every
// sequence at full length could use, within a quarter of the machine's memory and what weights and
// scratch leave of it, shared with its other ranks.
int64_t PagesOf(const GroupOptions& options, const StageParts& parts) {
  if (options.kv_positions > 0) return PagesFor(options.kv_positions);
  const int64_t memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / LocalRanks();
  const int64_t available = AvailableMemory() / LocalRanks();
  const auto fits = [&](int64_t pages) {
    const MemoryPlan plan = PlanMemory(parts.weights.bytes(), parts.config, parts.extent,
                                       MemoryOf(options, parts.config, pages));
    return plan.kv <= memory / 4 && (available == 0 || plan.total() <= available);
  };
  int64_t most = 1;
  int64_t too_many = PagesFor(options.max_sequences * MaxPositions(options, parts.config)) + 1;
  while (most + 1 < too_many) {
    const int64_t middle = most + (too_many - most) / 2;
    (fits(middle) ? most : too_many) = middle;
  }
  return most;
}

// What one rank finds out about itself before it votes.
struct SelfCheck {
  ModelSource model;
  Mesh mesh;
  StageParts parts;
};

absl::StatusOr<SelfCheck> CheckSelf(const GroupOptions& options, int rank, int world) {
  SelfCheck check;
  TRI_ASSIGN_OR_RETURN(check.model, OpenModel(options.model));
  TRI_ASSIGN_OR_RETURN(check.mesh, ChooseMesh(check.model, options.mesh));
  TRI_RETURN_IF_ERROR(CheckWorld(check.mesh, world));
  TRI_RETURN_IF_ERROR(CheckKvDType(KvDType(options), check.model.config.head_dim));
  StageParts& parts = check.parts;
  parts.architecture = check.model.architecture;
  parts.config = check.model.config;
  TRI_ASSIGN_OR_RETURN(parts.extent, MakeExtent(parts.config, PlaceOf(check.mesh, rank)));
  TRI_ASSIGN_OR_RETURN(std::shared_ptr<const TensorSource> tensors, check.model.TensorsOf(rank));
  if (options.verify && check.model.sharded()) {
    VerifyOptions verify;
    verify.ranks = {rank};
    verify.threads = ThreadsOf(options);
    TRI_ASSIGN_OR_RETURN(const VerifyReport report, VerifyShards(options.model, verify));
    TRI_RETURN_IF_ERROR(DamageStatus(report));
  }
  TRI_ASSIGN_OR_RETURN(parts.weights,
                       Weights::Bind(check.model.table, parts.extent, std::move(tensors)));
  TRI_ASSIGN_OR_RETURN(parts.ops,
                       MakeCpuOps({.threads = ThreadsOf(options), .arithmetic = options.compute}));
  return check;
}

StartVote VoteOf(const absl::StatusOr<SelfCheck>& check, const GroupOptions& options) {
  if (!check.ok()) return {.ready = check.status()};
  return {.ready = absl::OkStatus(),
          .identities = {
              {"trireme version", TRIREME_VERSION},
              {"model identity", check->model.identity},
              {"mesh", check->mesh.ToString()},
              {"compute", options.compute == Arithmetic::kFp32 ? "fp32" : "native"},
              {"KV cache", std::string(Name(KvDType(options)))},
              {"positions", absl::StrFormat("%d", MaxPositions(options, check->model.config))}}};
}

// The smallest of the ranks' values.
absl::StatusOr<int64_t> LeastOf(Communicator& world, int64_t mine, Deadline deadline) {
  int64_t least = mine;
  for (int root = 0; root < world.size(); ++root) {
    std::array<int64_t, 1> value{mine};
    TRI_RETURN_IF_ERROR(world.Broadcast(root, std::as_writable_bytes(std::span(value)), deadline,
                                        "pages of the KV cache"));
    least = std::min(least, value[0]);
  }
  return least;
}

// What every rank needs, by rank.
absl::StatusOr<std::vector<HostedNeed>> NeedsOf(Communicator& world, int64_t mine,
                                                Deadline deadline) {
  std::vector<HostedNeed> needs;
  for (int root = 0; root < world.size(); ++root) {
    std::array<int64_t, 1> bytes{mine};
    TRI_RETURN_IF_ERROR(world.Broadcast(root, std::as_writable_bytes(std::span(bytes)), deadline,
                                        "need of memory"));
    needs.push_back({.rank = root, .host = world.HostOf(root), .bytes = bytes[0]});
  }
  return needs;
}

}  // namespace

struct GroupSession::State {
  GroupOptions options;
  ModelSource model;
  Mesh mesh;
  int rank = 0;
  int64_t pages = 0;
  // Only in a group of several ranks, in order of dependence.
  FlightRing ring;
  std::unique_ptr<MpiSession> mpi;
  std::unique_ptr<Communicator> world;
  std::unique_ptr<Communicator> stage_comm;
  std::unique_ptr<Doorbell> doorbell;
  std::unique_ptr<Watch> watch;
  GroupLinks links;
  std::unique_ptr<Stage> stage;  // until it is handed to the executor or the follower's loop
  // Leader only.
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer;
  std::unique_ptr<GrammarCompiler> grammars;  // null without a tokenizer or a stop token
  std::unique_ptr<Engine> engine;
  // The engine, while it may be asked from other threads.
  Mutex traced_mutex;
  const Engine* traced ABSL_GUARDED_BY(traced_mutex) = nullptr;

  absl::Status Join();
  absl::Status Build();
  absl::Status CheckMemory(const StageParts& parts);
  absl::Status StartWatch();
  absl::Status MakeStage(StageParts parts);
  void OpenText();
  void MakeEngine();
  std::vector<std::string> Hosts() const;
  RankTrace Trace() ABSL_LOCKS_EXCLUDED(traced_mutex);
  void LeaveTrace(const std::string& reason);
  [[noreturn]] void EndWithVerdict(const Verdict& verdict);
};

std::vector<std::string> GroupSession::State::Hosts() const {
  std::vector<std::string> hosts;
  for (int other = 0; other < mesh.ranks(); ++other) {
    hosts.push_back(world == nullptr ? "localhost" : world->HostOf(other));
  }
  return hosts;
}

RankTrace GroupSession::State::Trace() {
  RankTrace trace{
      .rank = rank, .shards = mesh.shards(), .hosts = Hosts(), .steps = {}, .ring = &ring};
  const MutexLock lock(traced_mutex);
  if (traced != nullptr) trace.steps = traced->steps();
  return trace;
}

void GroupSession::State::LeaveTrace(const std::string& reason) {
  const auto path = WriteTrace(Trace(), reason, options.trace_directory);
  if (path.ok()) {
    LogWarning("wrote a trace of the last steps", {{"file", *path}});
  } else {
    LogWarning("no trace of the last steps", {{"error", path.status().ToString()}});
  }
}

// On the watch thread. A rank that is gone cannot be waited for, so the process ends here, and with
// it the MPI job.
void GroupSession::State::EndWithVerdict(const Verdict& verdict) {
  LogError("rank lost", {{"reason", verdict.reason}, {"found_by", verdict.found_by}});
  std::fprintf(stderr, "%s\n", verdict.dump.c_str());
  std::fflush(nullptr);
  LeaveTrace(verdict.reason);
  // mpirun kills the others as soon as one rank ends: let them report too.
  std::this_thread::sleep_for(Watch::kTellPeers);
  _exit(kExitRankLost);
}

absl::Status GroupSession::State::Join() {
  TRI_ASSIGN_OR_RETURN(const bool many, IsOneOfManyRanks(ReadLaunchEnvironment()));
  if (!many) return absl::OkStatus();
  TRI_ASSIGN_OR_RETURN(
      mpi, MpiSession::Start({.start_timeout = std::chrono::milliseconds(kStartTimeoutMs),
                              .stuck_exit_code = kExitRankLost,
                              .threads_per_rank = ThreadsOf(options)}));
  rank = mpi->rank();
  SetLogOrigin(absl::StrFormat("rank=%d", rank));
  world = mpi->World(ring);
  return absl::OkStatus();
}

absl::Status GroupSession::State::Build() {
  auto check = CheckSelf(options, rank, world == nullptr ? 1 : world->size());
  if (world != nullptr) {
    TRI_RETURN_IF_ERROR(
        AgreeToStart(*world, VoteOf(check, options), Deadline::AfterMs(kStartTimeoutMs)));
  }
  TRI_RETURN_IF_ERROR(check.status());
  model = std::move(check->model);
  mesh = check->mesh;
  pages = PagesOf(options, check->parts);
  if (world != nullptr) {
    TRI_ASSIGN_OR_RETURN(pages, LeastOf(*world, pages, Deadline::AfterMs(kTransportTestMs)));
  }
  TRI_RETURN_IF_ERROR(CheckMemory(check->parts));
  if (world != nullptr) {
    const Deadline deadline = Deadline::AfterMs(kTransportTestMs);
    const Place place = check->parts.extent.place;
    TRI_ASSIGN_OR_RETURN(stage_comm, world->Split(place.stage, place.shard, deadline));
    TRI_RETURN_IF_ERROR(TestTransport(*world, *stage_comm, deadline));
    TRI_RETURN_IF_ERROR(StartWatch());
  }
  TRI_RETURN_IF_ERROR(MakeStage(std::move(check->parts)));
  if (rank == kLeaderRank) {
    OpenText();
    MakeEngine();
  }
  return absl::OkStatus();
}

// Nothing large has been allocated yet: weights are mapped but not read.
absl::Status GroupSession::State::CheckMemory(const StageParts& parts) {
  const MemoryPlan plan = PlanMemory(parts.weights.bytes(), parts.config, parts.extent,
                                     MemoryOf(options, parts.config, pages));
  const int64_t available = AvailableMemory();
  if (world == nullptr) {
    return CheckHostMemory(rank, plan, {{rank, "localhost", plan.total()}}, available);
  }
  const Deadline deadline = Deadline::AfterMs(kStartTimeoutMs);
  TRI_ASSIGN_OR_RETURN(const std::vector<HostedNeed> needs,
                       NeedsOf(*world, plan.total(), deadline));
  return AgreeToStart(
      *world, {.ready = CheckHostMemory(rank, plan, needs, available), .identities = {}}, deadline);
}

absl::Status GroupSession::State::StartWatch() {
  TRI_ASSIGN_OR_RETURN(doorbell, Doorbell::Open(*world));
  WatchOptions watch_options;
  watch_options.hang_timeout = std::chrono::milliseconds(options.hang_timeout_ms);
  TRI_ASSIGN_OR_RETURN(watch,
                       Watch::Start(*world, ring, watch_options,
                                    [this](const Verdict& verdict) { EndWithVerdict(verdict); }));
  links = {
      .world = world.get(),
      .stage = stage_comm.get(),
      .wake_followers = [this] { doorbell->RingOthers(); },
      .sleep = [this](Deadline deadline) { doorbell->Wait(deadline); },
      .begin_step = [this](uint64_t step, Deadline deadline) { watch->BeginStep(step, deadline); },
      .end_step = [this] { watch->EndStep(); },
      .step_timeout_ms = options.step_timeout_ms,
      .max_in_flight = options.max_in_flight};
  return absl::OkStatus();
}

absl::Status GroupSession::State::MakeStage(StageParts parts) {
  const int64_t weight_bytes = parts.weights.bytes();
  TRI_ASSIGN_OR_RETURN(
      stage, Stage::Create(std::move(parts),
                           {.kv_dtype = KvDType(options),
                            .pages = pages,
                            .chunk_pages = MemoryOf(options, model.config, pages).chunk_pages,
                            .page_tokens = kPageTokens,
                            .max_step_tokens = options.max_step_tokens,
                            .max_positions = MaxPositions(options, model.config)}));
  LogInfo("rank ready", {{"mesh", mesh.ToString()},
                         {"layers", stage->extent().layers.size()},
                         {"weight_mib", weight_bytes >> 20},
                         {"kv_positions", pages * kPageTokens},
                         {"threads", ThreadsOf(options)}});
  return absl::OkStatus();
}

// A model without a tokenizer's files (a test's, say) still completes token ids; stop strings and
// grammars are then refused.
void GroupSession::State::OpenText() {
  tokenizer = LoadTokenizer(model.tokenizer_path);
  if (!tokenizer.ok()) return;
  const ModelConfig& config = model.config;
  auto compiler = GrammarCompiler::Create(
      GrammarVocabularyOf(**tokenizer, config.stop_tokens, config.vocabulary), {});
  if (compiler.ok()) {
    grammars = *std::move(compiler);
  } else {
    LogInfo("no constrained output", {{"reason", std::string(compiler.status().message())}});
  }
}

void GroupSession::State::MakeEngine() {
  const EngineOptions engine_options{
      .vocabulary = model.config.vocabulary,
      .max_positions = MaxPositions(options, model.config),
      .pages = pages,
      .chunk = AttentionChunk(model.config),
      .chunk_pages = MemoryOf(options, model.config, pages).chunk_pages,
      .page_tokens = kPageTokens,
      .experts = model.config.experts ? model.config.experts->count : 0,
      .max_sequences = options.max_sequences,
      .max_step_tokens = options.max_step_tokens,
      .step_timeout_ms = options.step_timeout_ms,
      .prefix_cache = options.prefix_cache,
      .isolate_tenants = options.isolate_tenants,
      .speculative_tokens = options.speculative_tokens,
      .tokenizer = tokenizer.ok() ? tokenizer->get() : nullptr,
      .grammars = grammars.get()};
  std::unique_ptr<Executor> executor;
  if (world == nullptr) {
    executor = std::make_unique<LocalExecutor>(std::move(stage));
  } else {
    executor = std::make_unique<GroupExecutor>(std::move(stage), links);
  }
  engine = std::make_unique<Engine>(engine_options, std::move(executor));
  const MutexLock lock(traced_mutex);
  traced = engine.get();
}

absl::StatusOr<std::unique_ptr<GroupSession>> GroupSession::Open(const GroupOptions& options) {
  auto state = std::make_unique<State>();
  state->options = options;
  TRI_RETURN_IF_ERROR(state->Join());
  TRI_RETURN_IF_ERROR(state->Build());
  return std::unique_ptr<GroupSession>(new GroupSession(std::move(state)));
}

GroupSession::GroupSession(std::unique_ptr<State> state) : state_(std::move(state)) {}
GroupSession::~GroupSession() = default;

bool GroupSession::leader() const { return state_->rank == kLeaderRank; }
const ModelConfig& GroupSession::config() const { return state_->model.config; }
const Mesh& GroupSession::mesh() const { return state_->mesh; }
const std::string& GroupSession::identity() const { return state_->model.identity; }
const absl::StatusOr<std::unique_ptr<Tokenizer>>& GroupSession::tokenizer() const {
  TRI_CHECK(leader());
  return state_->tokenizer;
}

std::vector<std::string> GroupSession::hosts() const { return state_->Hosts(); }

std::string GroupSession::Trace() { return TraceOf(state_->Trace(), ""); }

void GroupSession::LeaveTrace(const std::string& reason) { state_->LeaveTrace(reason); }

Engine& GroupSession::engine() {
  TRI_CHECK(leader());
  return *state_->engine;
}

absl::Status GroupSession::Follow() {
  TRI_CHECK(!leader());
  return RunFollower(std::move(state_->stage), state_->links);
}

absl::Status GroupSession::Close() {
  {
    const MutexLock lock(state_->traced_mutex);
    state_->traced = nullptr;
  }
  state_->engine.reset();
  if (state_->world == nullptr) return absl::OkStatus();
  // Nobody takes a rank that leaves for one that has stopped.
  state_->watch->Disarm();
  TRI_RETURN_IF_ERROR(state_->world->Barrier(Deadline::AfterMs(kLeaveTimeoutMs), "leaving"));
  state_->watch.reset();
  return state_->mpi->Finish(std::chrono::milliseconds(kLeaveTimeoutMs));
}

}  // namespace trireme
