#include "launcher/supervisor/serve.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launcher/exit_codes.h"
#include "launcher/supervisor/join_token.h"
#include "launcher/supervisor/local.h"
#include "launcher/supervisor/loss_report.h"
#include "launcher/supervisor/orphans.h"
#include "launcher/supervisor/process.h"
#include "launcher/supervisor/restart_policy.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;
using TimePoint = RestartPolicy::TimePoint;

// Beyond the drain: for the coordinator to close its streams and for groups to leave.
constexpr milliseconds kStopGrace{5'000};
// Between SIGTERM and SIGKILL, and for a group that the coordinator lost to notice it itself.
constexpr milliseconds kTermGrace{2'000};
constexpr milliseconds kLostGrace{5'000};

RestartOptions ToRestartOptions(const v1::RestartConfig& config) {
  return {.max_restarts = config.max_restarts(),
          .window = milliseconds(config.window_ms()),
          .first_pause = milliseconds(config.first_pause_ms()),
          .max_pause = milliseconds(config.max_pause_ms())};
}

struct GroupSlot {
  v1::GroupConfig config;
  int ranks = 0;
  RestartPolicy restarts;
  std::unique_ptr<ChildProcess> job;  // null: waits for start_at, or is done
  LossReport report;
  std::optional<TimePoint> start_at;
  std::optional<TimePoint> kill_at;  // the coordinator has lost it
  bool attached = false;
};

class Supervisor {
 public:
  explicit Supervisor(ServeOptions options) : options_(std::move(options)) {}

  int Run() {
    if (const absl::Status status = Start(); !status.ok()) {
      absl::FPrintF(stderr, "trireme serve: %s\nnext: trireme serve --help\n",
                    std::string(status.message()));
      return absl::IsInvalidArgument(status) ? kExitMisuse : kExitFailed;
    }
    while (!Over()) {
      WaitForEvents();
      HandleSignals();
      HandleCoordinator();
      for (GroupSlot& group : groups_) HandleGroup(group);
      HandleTime();
    }
    KillOrphans();
    if (exit_code_ == kExitOk && killed_) exit_code_ = kExitStopTimedOut;
    LogInfo("stopped", {{"exit_code", exit_code_}});
    return exit_code_;
  }

 private:
  const v1::ServeConfig& config() const { return options_.config.config; }

  absl::Status Start() {
    v1::AuthConfig& auth = *options_.config.config.mutable_auth();
    if (auth.join_token_file().empty()) {
      TRI_ASSIGN_OR_RETURN(join_token_, JoinToken::Make());
      auth.set_join_token_file(join_token_->path());
    }
    for (const v1::GroupConfig& group : config().groups()) {
      TRI_ASSIGN_OR_RETURN(const int ranks, RanksOf(group, config().model()));
      groups_.push_back({.config = group,
                         .ranks = ranks,
                         .restarts = RestartPolicy(ToRestartOptions(config().restart())),
                         .job = nullptr,
                         .report = {},
                         .start_at = {},
                         .kill_at = {},
                         .attached = false});
    }
    // What mpirun leaves behind becomes ours to end.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t stop;
    sigemptyset(&stop);
    for (const int signal : {SIGTERM, SIGINT}) sigaddset(&stop, signal);
    sigprocmask(SIG_BLOCK, &stop, nullptr);
    signals_ = signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signals_ < 0) return absl::InternalError("cannot watch for signals");
    start_deadline_ = Deadline::Clock::now() + milliseconds(config().start_timeout_ms());
    TRI_ASSIGN_OR_RETURN(coordinator_,
                         ChildProcess::Spawn(CoordinatorProcess(options_.trireme, config())));
    return absl::OkStatus();
  }

  bool Over() const {
    return coordinator_ == nullptr &&
           std::ranges::all_of(groups_, [](const GroupSlot& group) { return !group.job; });
  }

  // ---- events

  void WaitForEvents() {
    std::vector<pollfd> entries;
    const auto add = [&entries](int fd) {
      if (fd >= 0) entries.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    };
    const auto add_child = [&add](const ChildProcess* child) {
      if (child == nullptr) return;
      for (const int fd : {child->pidfd(), child->output_fd(), child->status_fd()}) add(fd);
    };
    add(signals_);
    add_child(coordinator_.get());
    for (const GroupSlot& group : groups_) add_child(group.job.get());
    poll(entries.data(), entries.size(), MillisecondsToNextTime());
  }

  // -1: no time matters.
  int MillisecondsToNextTime() const {
    std::optional<TimePoint> next;
    const auto consider = [&next](const std::optional<TimePoint>& time) {
      if (time.has_value() && (!next.has_value() || *time < *next)) next = time;
    };
    for (const GroupSlot& group : groups_) {
      consider(group.start_at);
      consider(group.kill_at);
    }
    consider(start_deadline_);
    consider(term_at_);
    consider(kill_at_);
    if (!next.has_value()) return -1;
    const auto left = std::chrono::ceil<milliseconds>(*next - Deadline::Clock::now());
    return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000));
  }

  void HandleSignals() {
    signalfd_siginfo signal;
    if (read(signals_, &signal, sizeof signal) != sizeof signal) return;
    if (stopping_) {
      LogWarning("asked again to stop: no more waiting");
      term_at_ = Deadline::Clock::now();
      kill_at_ = *term_at_ + milliseconds(500);
      return;
    }
    LogInfo("asked to stop");
    Stop(kExitOk);
  }

  void HandleCoordinator() {
    if (coordinator_ == nullptr) return;
    coordinator_->ReadStatus([this](std::string_view line) { OnStatusLine(line); });
    coordinator_->ReadOutput([](std::string_view line) { Forward("coordinator", line); });
    const std::optional<ProcessEnd> end = coordinator_->Reap();
    if (!end.has_value()) return;
    coordinator_->ReadOutput([](std::string_view line) { Forward("coordinator", line); });
    coordinator_.reset();
    if (stopping_) {
      // Groups that never attached have nobody who tells them.
      term_at_ = std::min(term_at_.value_or(TimePoint::max()),
                          Deadline::Clock::now() + milliseconds(1'000));
      return;
    }
    LogError("the coordinator ended", {{"exit_code", end->exit_code}, {"signal", end->signal}});
    const bool refused = address_.empty() && end->signal == 0;
    Stop(refused ? end->exit_code : kExitCoordinatorDied);
  }

  // What `trireme coordinator --status-fd` writes: "http ADDRESS" before "listening ADDRESS",
  // "serving", "not-serving", "attached GROUP", "lost GROUP".
  void OnStatusLine(std::string_view line) {
    const size_t blank = line.find(' ');
    const std::string_view word = line.substr(0, blank);
    const std::string_view rest =
        blank == std::string_view::npos ? std::string_view() : line.substr(blank + 1);
    if (word == "http") {
      http_address_ = rest;
    } else if (word == "listening") {
      address_ = rest;
      for (GroupSlot& group : groups_) StartGroup(group);
    } else if (word == "serving") {
      start_deadline_.reset();
      LogInfo("ready", {{"address", address_}});
      absl::FPrintF(stderr, "ready: trireme chat --server %s\n", address_);
      if (!http_address_.empty()) {
        absl::FPrintF(stderr, "ready: http://%s/v1/models\n", http_address_);
      }
    } else if (word == "not-serving" && !stopping_) {
      LogWarning("not ready: no group is", {{"address", address_}});
    }
    for (GroupSlot& group : groups_) {
      if (group.config.name() != rest) continue;
      if (word == "attached") group.attached = true;
      if (word == "attached") group.kill_at.reset();
      if (word == "lost" && group.job != nullptr && !stopping_) {
        group.attached = false;
        group.kill_at = Deadline::Clock::now() + kLostGrace;
      }
    }
  }

  void HandleGroup(GroupSlot& group) {
    if (group.job == nullptr) return;
    const auto on_line = [&group](std::string_view line) {
      group.report.AddLine(line);
      Forward(group.config.name(), line);
    };
    group.job->ReadOutput(on_line);
    const std::optional<ProcessEnd> end = group.job->Reap();
    if (!end.has_value()) return;
    group.job->ReadOutput(on_line);
    group.job->Kill();
    group.job.reset();
    group.attached = false;
    group.kill_at.reset();
    if (stopping_) return;
    OnGroupEnd(group, *end);
  }

  void OnGroupEnd(GroupSlot& group, const ProcessEnd& end) {
    const std::string cause = group.report.Cause(end);
    LogError("group lost",
             {{"group", group.config.name()}, {"exit_code", end.exit_code}, {"cause", cause}});
    if (end.exit_code == kExitStartRefused || end.exit_code == kExitMisuse) {
      LogError("a restart would not help", {{"group", group.config.name()}});
      Stop(end.exit_code);
      return;
    }
    const std::optional<milliseconds> pause = group.restarts.OnLoss(Deadline::Clock::now());
    if (!pause.has_value()) {
      LogError("lost too often; giving up", {{"group", group.config.name()},
                                             {"max_restarts", config().restart().max_restarts()}});
      Stop(kExitGroupLost);
      return;
    }
    LogInfo("restarting", {{"group", group.config.name()}, {"pause_ms", pause->count()}});
    group.start_at = Deadline::Clock::now() + *pause;
  }

  void HandleTime() {
    const TimePoint now = Deadline::Clock::now();
    const auto due = [now](std::optional<TimePoint>& time) {
      if (!time.has_value() || now < *time) return false;
      time.reset();
      return true;
    };
    for (GroupSlot& group : groups_) {
      if (due(group.start_at)) StartGroup(group);
      if (due(group.kill_at) && group.job != nullptr) {
        LogWarning("the coordinator lost this group and it does not end; ending it",
                   {{"group", group.config.name()}});
        group.job->Kill();
      }
    }
    if (due(start_deadline_)) {
      LogError("no group became ready in time",
               {{"start_timeout_ms", config().start_timeout_ms()}});
      Stop(kExitFailed);
    }
    if (due(term_at_)) SignalAll(SIGTERM);
    if (due(kill_at_)) {
      killed_ = true;
      SignalAll(SIGKILL);
    }
  }

  // ---- actions

  void StartGroup(GroupSlot& group) {
    if (stopping_ || group.job != nullptr) return;
    group.start_at.reset();
    group.report = LossReport();
    auto job = ChildProcess::Spawn(
        GroupProcess(options_.trireme, config(), group.config, address_, group.ranks));
    if (!job.ok()) {
      LogError("cannot start a group",
               {{"group", group.config.name()}, {"error", std::string(job.status().message())}});
      Stop(kExitFailed);
      return;
    }
    group.job = *std::move(job);
    LogInfo("group started",
            {{"group", group.config.name()}, {"ranks", group.ranks}, {"mpirun", group.job->pid()}});
  }

  void Stop(int exit_code) {
    if (stopping_) return;
    stopping_ = true;
    exit_code_ = exit_code;
    start_deadline_.reset();
    const TimePoint now = Deadline::Clock::now();
    if (coordinator_ != nullptr) coordinator_->Signal(SIGTERM);
    for (GroupSlot& group : groups_) {
      group.start_at.reset();
      group.kill_at.reset();
      if (group.job != nullptr && !group.attached) group.job->Signal(SIGTERM);
    }
    const milliseconds drain =
        exit_code == kExitOk ? milliseconds(config().drain_timeout_ms()) : milliseconds(0);
    term_at_ = now + drain + kStopGrace;
    kill_at_ = *term_at_ + kTermGrace;
  }

  void SignalAll(int signal) {
    const auto send = [signal](const ChildProcess* child) {
      if (child == nullptr) return;
      if (signal == SIGKILL) {
        child->Kill();
      } else {
        child->Signal(signal);
      }
    };
    send(coordinator_.get());
    for (const GroupSlot& group : groups_) send(group.job.get());
  }

  static void Forward(std::string_view who, std::string_view line) {
    absl::FPrintF(stderr, "%s| %s\n", who, line);
  }

  ServeOptions options_;
  std::unique_ptr<JoinToken> join_token_;  // null: the configuration names one
  std::vector<GroupSlot> groups_;
  std::unique_ptr<ChildProcess> coordinator_;
  std::string address_;       // of the coordinator, once it listens
  std::string http_address_;  // "": no HTTP
  int signals_ = -1;
  bool stopping_ = false;
  bool killed_ = false;
  int exit_code_ = kExitOk;
  std::optional<TimePoint> start_deadline_;
  std::optional<TimePoint> term_at_;
  std::optional<TimePoint> kill_at_;
};

}  // namespace

int Serve(ServeOptions options) { return Supervisor(std::move(options)).Run(); }

}  // namespace trireme
