#include "launcher/link/leader.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/link/session.h"
#include "runtime/base/log.h"

namespace trireme {
namespace {

v1::Hello ToHello(const LeaderOptions& options, const GroupIdentity& identity,
                  const EngineOptions& engine) {
  v1::Hello hello;
  hello.set_group(options.group);
  hello.set_model(identity.model);
  hello.set_model_identity(identity.model_identity);
  hello.set_tokenizer_hash(identity.tokenizer_hash);
  hello.set_vocabulary(engine.vocabulary);
  hello.set_max_positions(std::min(engine.max_positions, KvPositions(engine)));
  hello.set_max_sequences(engine.max_sequences);
  hello.set_max_waiting(engine.max_waiting);
  hello.mutable_stop_tokens()->Add(identity.stop_tokens.begin(), identity.stop_tokens.end());
  for (const std::string& host : identity.hosts) hello.add_hosts(host);
  hello.set_mesh(identity.mesh);
  return hello;
}

// Worth another attempt: nobody there yet, or the last incarnation is still being given up.
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsAlreadyExists(status) || absl::IsCancelled(status);
}

// Sleeps unless asked to stop.
void Pause(std::chrono::milliseconds duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, duration, [] { return false; });
}

}  // namespace

absl::Status RunLeader(const LeaderOptions& options, const GroupIdentity& identity, Engine& engine,
                       std::stop_token stop) {
  const v1::Hello hello = ToHello(options, identity, engine.options());
  uint64_t last_engine_id = 0;
  Deadline away = Deadline::After(options.away_timeout);
  std::chrono::milliseconds pause = options.first_pause;
  while (!stop.stop_requested()) {
    if (const absl::Status health = engine.status().health; !health.ok()) return health;
    auto link = CoordinatorLink::Connect(options.coordinator, hello,
                                         Deadline::After(options.connect_timeout));
    if (link.ok()) {
      LogInfo("attached", {{"coordinator", options.coordinator.address},
                           {"group", options.group},
                           {"incarnation", (*link)->incarnation()}});
      Session session(*std::move(link), engine, last_engine_id, identity.trace);
      const Session::End end = session.Run(options.heartbeat, stop);
      if (end == Session::End::kToldToLeave) return absl::OkStatus();
      if (end == Session::End::kEngineLost) return engine.status().health;
      LogWarning("link lost; everything of this coordinator is cancelled",
                 {{"coordinator", options.coordinator.address},
                  {"cause", std::string(session.link_status().message())}});
      away = Deadline::After(options.away_timeout);
      pause = options.first_pause;
    } else if (!MayPass(link.status())) {
      return link.status();
    } else if (away.Passed()) {
      return absl::UnavailableError(absl::StrFormat("the coordinator was away for %d s: %s",
                                                    options.away_timeout.count() / 1000,
                                                    std::string(link.status().message())));
    }
    Pause(pause, stop);
    pause = std::min(pause * 2, options.max_pause);
  }
  return absl::OkStatus();
}

}  // namespace trireme
