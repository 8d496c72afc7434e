// One process's place in a worker group, from flags to ready: opens the model, joins the other
// ranks (or stands alone), votes in the two-phase start, and ends up with an engine on the leader
// or the loop of a follower.
//
// Order of life: Open → leader: engine(), then Close(); follower: Follow(), then Close(). After an
// error the process leaves by LeaveGroup(status), which never waits for anybody.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/mesh.h"
#include "parallel/shards/model_source.h"
#include "runtime/engine/engine.h"
#include "runtime/model/config.h"
#include "runtime/ops/ops.h"
#include "runtime/tensor/dtype.h"
#include "runtime/text/tokenizer.h"

namespace trireme {

struct GroupOptions {
  std::string model;  // checkpoint directory, GGUF file or shard directory
  MeshRequest mesh;   // axes left out come from a shard directory, or are 1
  Arithmetic compute =
      Arithmetic::kNative;          // kFp32 is what the reference's outputs are compared in
  std::optional<DType> kv_dtype{};  // of keys and values; unset: fp32 or fp16 as `compute`
  int threads = 0;                  // a rank's; 0: its share of the cores
  int64_t max_positions = 0;        // longest prompt + completion; 0: the model's, at most 131072
  int64_t kv_positions = 0;  // positions the KV cache holds in all; 0: as fits a quarter of memory
  int64_t max_sequences = 64;
  int64_t max_step_tokens = 256;
  int max_in_flight = 0;     // plans at most; 0: one a stage
  bool prefix_cache = true;  // EngineOptions, as the next two
  bool isolate_tenants = false;
  int64_t speculative_tokens = 0;
  int64_t step_timeout_ms = 30'000;
  std::string trace_directory;      // of traces left when the group is lost; "": the system's
  int64_t hang_timeout_ms = 1'200;  // silence after which a rank counts as stopped
  bool verify = false;              // read every byte of the shard and compare checksums first
};

class GroupSession {
 public:
  // INVALID_ARGUMENT or FAILED_PRECONDITION when this or another rank refuses (every rank gets the
  // same error); DEADLINE_EXCEEDED naming the ranks that did not arrive.
  static absl::StatusOr<std::unique_ptr<GroupSession>> Open(const GroupOptions& options);
  GroupSession(const GroupSession&) = delete;
  GroupSession& operator=(const GroupSession&) = delete;
  ~GroupSession();

  bool leader() const;
  const ModelConfig& config() const;
  const Mesh& mesh() const;
  const std::string& identity() const;  // of the model: hash of what is served
  // Of the model; NOT_FOUND where it has no tokenizer's files, otherwise what is wrong with them.
  // Leader only.
  const absl::StatusOr<std::unique_ptr<Tokenizer>>& tokenizer() const;
  std::vector<std::string> hosts() const;  // one a rank

  Engine& engine();       // leader only
  absl::Status Follow();  // followers only: until the leader says stop

  // What this rank knows of the last steps, as a Chrome trace (launcher/group/rank_trace.h). Any
  // thread.
  std::string Trace();
  // Leaves it in a file, and says in the log where.
  void LeaveTrace(const std::string& reason);

  // Leaves in agreement with the other ranks.
  absl::Status Close();

 private:
  struct State;
  explicit GroupSession(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trireme
