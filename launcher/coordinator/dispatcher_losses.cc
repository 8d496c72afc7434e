// What the dispatcher does about groups that are lost and requests whose time is up.
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/coordinator/dispatcher.h"
#include "launcher/coordinator/router.h"
#include "runtime/base/log.h"

namespace trireme {

void Dispatcher::Lose(uint64_t incarnation, const absl::Status& cause, Afterwards& after) {
  const std::string name = registry_.name(incarnation);
  const std::shared_ptr<LinkMailbox> link = registry_.link(incarnation);
  if (!cause.ok()) metrics_.OnGroupLost();
  const std::vector<uint64_t> requests = journal_.AssignedTo(incarnation);
  for (const uint64_t request : requests) ChargeDevice(*journal_.Find(request));
  registry_.Detach(incarnation);
  link->PutLast({.message = {}, .close = true, .status = cause});
  after.links.push_back(link);
  after.logs.push_back([name, incarnation, cause, size = requests.size()] {
    Log(cause.ok() ? LogLevel::kInfo : LogLevel::kWarning, cause.ok() ? "group left" : "group lost",
        {{"group", name},
         {"incarnation", incarnation},
         {"requests", size},
         {"cause", std::string(cause.message())}});
  });
  events_.push_back({.kind = CoordinatorEvent::Kind::kGroupLost, .group = name, .cause = cause});
  for (const uint64_t request : requests) Orphan(*journal_.Find(request), cause, after);
}

void Dispatcher::Orphan(JournalEntry& entry, const absl::Status& cause, Afterwards& after) {
  entry.incarnation.reset();
  entry.lost_at = options_.now();
  entry.last_cause = cause.ok() ? "the group was told to leave" : std::string(cause.message());
  if (!cause.ok()) ++entry.losses;
  if (entry.losses >= options_.max_losses) {
    EndWithError(
        entry,
        absl::InternalError(absl::StrFormat(
            "%d groups were lost while this request ran; it is not tried again", entry.losses)),
        after);
  }
}

void Dispatcher::PlaceWaiting(Afterwards& after) {
  for (const uint64_t request : journal_.Unassigned()) {
    JournalEntry* entry = journal_.Find(request);
    if (entry == nullptr) continue;  // ended with another's group
    const auto group = ChooseGroup(registry_.Snapshots(options_.now()));
    if (!group.has_value()) return;
    if (entry->losses > 0) metrics_.OnReplay();
    after.logs.push_back([id = entry->id, delivered = entry->sent.size()] {
      LogInfo("request goes on after a loss", {{"request", id}, {"delivered", delivered}});
    });
    Assign(*group, *entry, after);
  }
}

void Dispatcher::ExpireRequests(TimePoint now, Afterwards& after) {
  for (const uint64_t request : journal_.PastDeadline(now)) {
    JournalEntry* entry = journal_.Find(request);
    if (entry == nullptr) continue;  // ended with another's group
    CancelOnGroup(*entry, after);
    const std::string_view where = entry->started ? "while it ran" : "while it waited";
    const std::string cause =
        entry->clients_deadline
            ? absl::StrFormat("the call's deadline passed %s", where)
            : absl::StrFormat("the request took longer than %d s, the coordinator's limit",
                              options_.request_timeout.count() / 1000);
    EndWithError(*entry, absl::DeadlineExceededError(cause), after);
  }
  for (const uint64_t request : journal_.Unassigned()) {
    JournalEntry& entry = *journal_.Find(request);
    if (now - entry.lost_at < options_.replay_timeout) continue;
    EndWithError(entry,
                 absl::UnavailableError(absl::StrFormat(
                     "its group was lost (%s) and no other became ready within %d s",
                     entry.last_cause, options_.replay_timeout.count() / 1000)),
                 after);
  }
}

}  // namespace trireme
