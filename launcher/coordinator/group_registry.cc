#include "launcher/coordinator/group_registry.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr size_t kMaxGroupNameBytes = 64;
constexpr int kMaxHottestExperts = 64;

absl::Status CheckHello(const v1::Hello& hello) {
  if (hello.group().empty() || hello.group().size() > kMaxGroupNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("hello.group: expected a name of 1 to %d bytes; got %d", kMaxGroupNameBytes,
                        hello.group().size()));
  }
  const std::pair<std::string_view, int64_t> at_least_one[] = {
      {"vocabulary", hello.vocabulary()},
      {"max_positions", hello.max_positions()},
      {"max_sequences", hello.max_sequences()},
      {"hosts (one a rank)", hello.hosts_size()},
  };
  for (const auto& [field, value] : at_least_one) {
    if (value < 1) {
      return absl::InvalidArgumentError(
          absl::StrFormat("hello.%s: expected at least 1; got %d", field, value));
    }
  }
  if (hello.max_waiting() < 0) {
    return absl::InvalidArgumentError("hello.max_waiting: expected 0 or more");
  }
  return absl::OkStatus();
}

absl::Status CheckSame(std::string_view what, const std::string& expected,
                       const std::string& found) {
  if (expected == found) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("this coordinator serves %s %s; the group has %s; start it with the same "
                      "--model",
                      what, expected, found));
}

}  // namespace

absl::StatusOr<uint64_t> GroupRegistry::Attach(const v1::Hello& hello,
                                               std::shared_ptr<LinkMailbox> link, TimePoint now) {
  TRI_RETURN_IF_ERROR(CheckHello(hello));
  if (!tokenizer_hash_.empty() && !hello.tokenizer_hash().empty()) {
    TRI_RETURN_IF_ERROR(CheckSame("the tokenizer", tokenizer_hash_, hello.tokenizer_hash()));
  }
  if (const v1::Hello* first = served(); first != nullptr) {
    TRI_RETURN_IF_ERROR(CheckSame("the model", first->model_identity(), hello.model_identity()));
    if (first->vocabulary() != hello.vocabulary() ||
        first->max_positions() != hello.max_positions()) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "groups of one coordinator must agree; the first has vocabulary %d and a context of %d, "
          "this one %d and %d",
          first->vocabulary(), first->max_positions(), hello.vocabulary(), hello.max_positions()));
    }
  }
  for (const auto& [incarnation, group] : groups_) {
    if (group.hello.group() == hello.group()) {
      return absl::AlreadyExistsError(absl::StrFormat(
          "a group named '%s' is attached (incarnation %d); give this one another --group",
          hello.group(), incarnation));
    }
  }
  const uint64_t incarnation = ++last_incarnation_;
  Group& group = groups_[incarnation];
  group.hello = hello;
  group.link = std::move(link);
  group.last_heartbeat = now;
  group.last_progress = now;
  group.device_seconds_at = now;
  return incarnation;
}

bool GroupRegistry::Detach(uint64_t incarnation) { return groups_.erase(incarnation) > 0; }

void GroupRegistry::Heartbeat(uint64_t incarnation, const v1::Heartbeat& heartbeat, TimePoint now) {
  const auto it = groups_.find(incarnation);
  if (it == groups_.end()) return;
  Group& group = it->second;
  if (heartbeat.steps() != group.latest.steps() || heartbeat.running() == 0 ||
      group.latest.running() == 0) {
    group.last_progress = now;
  }
  group.last_heartbeat = now;
  group.latest = heartbeat;
  auto& hottest = *group.latest.mutable_hottest_experts();
  if (hottest.size() > kMaxHottestExperts) {
    hottest.DeleteSubrange(kMaxHottestExperts, hottest.size() - kMaxHottestExperts);
  }
}

bool GroupRegistry::Ready(const Group& group, TimePoint now) const {
  return now - group.last_heartbeat <= options_.heartbeat_timeout &&
         (group.latest.running() == 0 || now - group.last_progress <= options_.stall_not_ready);
}

std::vector<std::pair<uint64_t, absl::Status>> GroupRegistry::Overdue(TimePoint now) const {
  std::vector<std::pair<uint64_t, absl::Status>> overdue;
  for (const auto& [incarnation, group] : groups_) {
    const auto ms = [now](TimePoint since) {
      return std::chrono::duration_cast<std::chrono::milliseconds>(now - since).count();
    };
    if (now - group.last_heartbeat > options_.heartbeat_timeout) {
      overdue.emplace_back(incarnation, absl::UnavailableError(absl::StrFormat(
                                            "group '%s' sent no heartbeat for %d ms",
                                            group.hello.group(), ms(group.last_heartbeat))));
    } else if (group.latest.running() > 0 && now - group.last_progress > options_.stall_lost) {
      overdue.emplace_back(
          incarnation, absl::UnavailableError(absl::StrFormat(
                           "group '%s' completed no step for %d ms with %d requests running",
                           group.hello.group(), ms(group.last_progress), group.latest.running())));
    }
  }
  return overdue;
}

std::vector<GroupSnapshot> GroupRegistry::Snapshots(TimePoint now) const {
  std::vector<GroupSnapshot> snapshots;
  for (const auto& [incarnation, group] : groups_) {
    snapshots.push_back({.name = group.hello.group(),
                         .incarnation = incarnation,
                         .ready = Ready(group, now),
                         .assigned = group.assigned,
                         .capacity = group.hello.max_sequences() + group.hello.max_waiting(),
                         .max_sequences = group.hello.max_sequences(),
                         .ranks = group.hello.hosts_size(),
                         .steps = group.latest.steps(),
                         .running = group.latest.running(),
                         .waiting = group.latest.waiting(),
                         .counters = group.latest.counters(),
                         .hottest_experts = {group.latest.hottest_experts().begin(),
                                             group.latest.hottest_experts().end()},
                         .queue = group.queue});
  }
  return snapshots;
}

bool GroupRegistry::AnyReady(TimePoint now) const {
  return std::ranges::any_of(groups_, [&](const auto& entry) { return Ready(entry.second, now); });
}

const v1::Hello* GroupRegistry::served() const {
  return groups_.empty() ? nullptr : &groups_.begin()->second.hello;
}

const std::shared_ptr<LinkMailbox>& GroupRegistry::link(uint64_t incarnation) const {
  const auto it = groups_.find(incarnation);
  TRI_CHECK(it != groups_.end()) << "incarnation " << incarnation;
  return it->second.link;
}

const std::string& GroupRegistry::name(uint64_t incarnation) const {
  const auto it = groups_.find(incarnation);
  TRI_CHECK(it != groups_.end()) << "incarnation " << incarnation;
  return it->second.hello.group();
}

GroupRegistry::Group& GroupRegistry::Attached(uint64_t incarnation) {
  const auto it = groups_.find(incarnation);
  TRI_CHECK(it != groups_.end()) << "incarnation " << incarnation;
  return it->second;
}

double GroupRegistry::ShareOf(const Group& group) {
  const int64_t running = std::clamp<int64_t>(group.assigned, 1, group.hello.max_sequences());
  return static_cast<double>(group.hello.hosts_size()) / static_cast<double>(running);
}

double GroupRegistry::DeviceShare(uint64_t incarnation) const {
  const auto it = groups_.find(incarnation);
  TRI_CHECK(it != groups_.end()) << "incarnation " << incarnation;
  return ShareOf(it->second);
}

double GroupRegistry::DeviceSeconds(uint64_t incarnation, TimePoint now) {
  Group& group = Attached(incarnation);
  const std::chrono::duration<double> since = now - group.device_seconds_at;
  group.device_seconds += since.count() * ShareOf(group);
  group.device_seconds_at = now;
  return group.device_seconds;
}

void GroupRegistry::AddAssigned(uint64_t incarnation, int64_t change, TimePoint now) {
  DeviceSeconds(incarnation, now);
  Attached(incarnation).assigned += change;
}

void GroupRegistry::OnAccept(uint64_t incarnation, int64_t max_tokens) {
  Attached(incarnation).queue.OnAccept(max_tokens);
}

void GroupRegistry::OnToken(uint64_t incarnation, TimePoint now) {
  Group& group = Attached(incarnation);
  group.queue.Advance(now, 1, group.assigned >= group.hello.max_sequences());
}

void GroupRegistry::OnEnd(uint64_t incarnation, int64_t tokens) {
  Attached(incarnation).queue.OnEnd(tokens);
}

}  // namespace trireme
