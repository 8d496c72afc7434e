#include "launcher/coordinator/journal.h"

#include <algorithm>
#include <utility>

#include "launcher/request/submit.h"

namespace trireme {

uint64_t Journal::Add(const AcceptedRequest& accepted, std::shared_ptr<StreamMailbox> stream,
                      TimePoint now, std::chrono::milliseconds limit) {
  const uint64_t call = last_request_ + 1;
  const bool clients_deadline = accepted.timeout.has_value() && *accepted.timeout < limit;
  const auto so_far = std::make_shared<CallEnd>(
      CallEnd{.id = accepted.id,
              .tenant = accepted.request.tenant,
              .prompt_tokens = static_cast<int64_t>(accepted.request.prompt.size()),
              .running = accepted.choices});
  for (int32_t choice = 0; choice < accepted.choices; ++choice) {
    const uint64_t number = ++last_request_;
    entries_[number] = {.number = number,
                        .call = call,
                        .id = accepted.id,
                        .request = ChoiceOf(accepted, choice),
                        .stream = stream,
                        .so_far = so_far,
                        .accepted = now,
                        .deadline = now + (clients_deadline ? *accepted.timeout : limit),
                        .clients_deadline = clients_deadline,
                        .lost_at = now,
                        .last_cause = "before it began",
                        .lease = accepted.lease};
  }
  return call;
}

JournalEntry* Journal::Find(uint64_t request) {
  const auto it = entries_.find(request);
  return it == entries_.end() ? nullptr : &it->second;
}

void Journal::Erase(uint64_t request) { entries_.erase(request); }

Journal::Verdict Journal::Judge(uint64_t incarnation, const v1::TokenUpdate& update) {
  const JournalEntry* entry = Find(update.request());
  if (entry == nullptr || entry->incarnation != incarnation) return Verdict::kStale;
  // Prompt tokens are scored from the second on. After a loss, delivered tokens are the prompt's
  // end; nobody asked for their scores.
  const bool replayed = update.of_prompt() && update.index() >= entry->request.prompt.size();
  const size_t next = update.of_prompt() ? entry->prompt_scores + 1 : entry->sent.size();
  if (replayed || update.index() < next) return Verdict::kStale;
  return update.index() == next ? Verdict::kDeliver : Verdict::kGap;
}

bool Journal::HasId(const std::string& id, const std::string& tenant) const {
  return std::ranges::any_of(entries_, [&](const auto& item) {
    return item.second.id == id && item.second.request.tenant == tenant;
  });
}

template <typename Predicate>
std::vector<uint64_t> Journal::Where(Predicate predicate) const {
  std::vector<uint64_t> requests;
  for (const auto& [request, entry] : entries_) {
    if (predicate(entry)) requests.push_back(request);
  }
  return requests;
}

std::vector<uint64_t> Journal::OfCall(uint64_t call) const {
  return Where([=](const JournalEntry& entry) { return entry.call == call; });
}
std::vector<uint64_t> Journal::AssignedTo(uint64_t incarnation) const {
  return Where([=](const JournalEntry& entry) { return entry.incarnation == incarnation; });
}
int64_t Journal::Started(uint64_t incarnation) const {
  return std::ranges::count_if(entries_, [=](const auto& item) {
    return item.second.incarnation == incarnation && item.second.started;
  });
}
std::map<std::string, int64_t> Journal::NotStarted(uint64_t incarnation) const {
  std::map<std::string, int64_t> tenants;
  for (const auto& [request, entry] : entries_) {
    if (entry.incarnation == incarnation && !entry.started) ++tenants[entry.request.tenant];
  }
  return tenants;
}
std::vector<uint64_t> Journal::Unassigned() const {
  return Where([](const JournalEntry& entry) { return !entry.incarnation.has_value(); });
}
std::vector<uint64_t> Journal::PastDeadline(TimePoint now) const {
  return Where([=](const JournalEntry& entry) { return entry.deadline <= now; });
}
std::vector<uint64_t> Journal::All() const {
  return Where([](const JournalEntry&) { return true; });
}

v1::Submit ToSubmit(const JournalEntry& entry, TimePoint now) {
  Request request = entry.request;
  request.prompt.insert(request.prompt.end(), entry.sent.begin(), entry.sent.end());
  request.first_draw = static_cast<uint32_t>(entry.sent.size());
  request.max_tokens -= static_cast<int32_t>(entry.sent.size());
  // The prompt's scores come before the first token.
  if (!entry.sent.empty()) request.prompt_logprobs = false;
  v1::Submit submit = ToSubmit(entry.number, request);
  // At least 1: what is late already is ended here, at the next tick.
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(entry.deadline - now);
  submit.set_deadline_ms(std::max<int64_t>(1, left.count()));
  return submit;
}

}  // namespace trireme
