#include "tests/support/mesh_run.h"

#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "parallel/comm/thread_comm.h"
#include "parallel/group/group_executor.h"
#include "runtime/base/check.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/checkpoint.h"
#include "runtime/model/architecture.h"
#include "runtime/stage/stage.h"

namespace trireme {
namespace {

// Of either kind of layer.
int64_t PagesOf(const MeshRun& run) {
  return run.pages > 0 ? run.pages : 4 * run.positions / run.page_tokens;
}

absl::StatusOr<std::unique_ptr<Stage>> MakeStage(const MeshRun& run, int rank) {
  TRI_ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(run.model));
  StageParts parts;
  TRI_ASSIGN_OR_RETURN(parts.config, ConfigOf(checkpoint));
  TRI_ASSIGN_OR_RETURN(parts.architecture, FindArchitecture(parts.config.architecture));
  const Place place{.stage = rank / run.shards,
                    .stages = run.stages,
                    .shard = rank % run.shards,
                    .shards = run.shards,
                    .expert_groups = run.expert_groups};
  TRI_ASSIGN_OR_RETURN(parts.extent, MakeExtent(parts.config, place));
  TRI_ASSIGN_OR_RETURN(parts.weights, Weights::Bind(parts.architecture->tensors(parts.config),
                                                    parts.extent, std::move(checkpoint.tensors)));
  if (run.reference_ops) {
    parts.ops = MakeReferenceOps(run.arithmetic, HasBf16Products(CpuTargets().front()));
  } else {
    TRI_ASSIGN_OR_RETURN(
        parts.ops,
        MakeCpuOps({.threads = 1, .target = run.cpu_target, .arithmetic = run.arithmetic}));
  }
  return Stage::Create(std::move(parts), {.kv_dtype = run.kv_dtype,
                                          .pages = PagesOf(run),
                                          .chunk_pages = PagesOf(run),
                                          .page_tokens = run.page_tokens,
                                          .max_step_tokens = run.max_step_tokens,
                                          .max_positions = run.positions});
}

// One rank's communicators and links.
class Rank {
 public:
  Rank(ThreadGroup& group, const MeshRun& run, int rank) : world_(group.World(rank)) {
    auto stage = world_->Split(rank / run.shards, rank % run.shards, Deadline::AfterMs(30'000));
    TRI_CHECK_OK(stage.status());
    stage_ = *std::move(stage);
  }
  GroupLinks links() const {
    return {.world = world_.get(),
            .stage = stage_.get(),
            .wake_followers = [] {},
            .sleep = [](Deadline) { std::this_thread::yield(); },
            .begin_step = [](uint64_t, Deadline) {},
            .end_step = [] {}};
  }

 private:
  std::unique_ptr<Communicator> world_;
  std::unique_ptr<Communicator> stage_;
};

class Events {
 public:
  explicit Events(size_t requests) : events_(requests), left_(requests) {}

  EventSink SinkOf(size_t index) {
    return [this, index](const TokenEvent& event) {
      MutexLock lock(mutex_);
      events_[index].push_back(event);
      if (event.finish != FinishReason::kNone) --left_;
      ended_.NotifyAll();
    };
  }
  absl::StatusOr<std::vector<std::vector<TokenEvent>>> Wait() {
    MutexLock lock(mutex_);
    const Deadline deadline = Deadline::AfterMs(240'000);
    while (left_ > 0) {
      if (!ended_.WaitUntil(mutex_, deadline)) {
        return absl::DeadlineExceededError("requests did not end");
      }
    }
    for (const auto& events : events_) TRI_RETURN_IF_ERROR(events.back().error);
    return std::move(events_);
  }

 private:
  Mutex mutex_;
  CondVar ended_;
  std::vector<std::vector<TokenEvent>> events_ ABSL_GUARDED_BY(mutex_);
  size_t left_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<MeshOutcome> RunLeader(const MeshRun& run, std::unique_ptr<Stage> stage,
                                      const GroupLinks& links, std::vector<Request> requests) {
  const ModelConfig& config = stage->config();
  const EngineOptions options{.vocabulary = config.vocabulary,
                              .max_positions = run.positions,
                              .pages = PagesOf(run),
                              .chunk = AttentionChunk(config),
                              .chunk_pages = PagesOf(run),
                              .page_tokens = run.page_tokens,
                              .experts = config.experts ? config.experts->count : 0,
                              .max_step_tokens = run.max_step_tokens,
                              .prefix_cache = run.prefix_cache,
                              .speculative_tokens = run.speculative_tokens};
  Events events(requests.size());
  Engine engine(options, std::make_unique<GroupExecutor>(std::move(stage), links));
  std::mt19937 random(static_cast<unsigned>(requests.size()));
  for (size_t i = 0; i < requests.size(); ++i) {
    if (i > 0 && run.arrivals == Arrivals::kAtRandom) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    }
    requests[i].id = i + 1;
    TRI_RETURN_IF_ERROR(engine.Submit(std::move(requests[i]), events.SinkOf(i)));
  }
  MeshOutcome outcome;
  TRI_ASSIGN_OR_RETURN(outcome.events, events.Wait());
  outcome.status = engine.status();
  return outcome;
}

}  // namespace

absl::StatusOr<MeshOutcome> RunMesh(const MeshRun& run, std::vector<Request> requests) {
  const int ranks = run.stages * run.shards;
  std::vector<std::unique_ptr<Stage>> stages;
  for (int rank = 0; rank < ranks; ++rank) {
    TRI_ASSIGN_OR_RETURN(stages.emplace_back(), MakeStage(run, rank));
  }
  ThreadGroup group(ranks);
  std::vector<std::thread> followers;
  for (int rank = 1; rank < ranks; ++rank) {
    followers.emplace_back([&, rank] {
      const Rank self(group, run, rank);
      TRI_CHECK_OK(RunFollower(std::move(stages[static_cast<size_t>(rank)]), self.links()));
    });
  }
  absl::StatusOr<MeshOutcome> outcome;
  {
    const Rank leader(group, run, 0);
    outcome = RunLeader(run, std::move(stages[0]), leader.links(), std::move(requests));
  }
  for (std::thread& follower : followers) follower.join();
  return outcome;
}

absl::StatusOr<std::vector<std::vector<TokenEvent>>> RunOnMesh(const MeshRun& run,
                                                               std::vector<Request> requests) {
  TRI_ASSIGN_OR_RETURN(MeshOutcome outcome, RunMesh(run, std::move(requests)));
  return std::move(outcome.events);
}

}  // namespace trireme
