#include "launcher/coordinator/journal.h"

#include <algorithm>
#include <utility>

namespace trireme {

uint64_t Journal::Add(AcceptedRequest accepted, std::shared_ptr<StreamMailbox> stream,
                      TimePoint deadline) {
  const uint64_t request = ++last_request_;
  JournalEntry& entry = entries_[request];
  entry.request = request;
  entry.accepted = std::move(accepted);
  entry.stream = std::move(stream);
  entry.deadline = deadline;
  return request;
}

JournalEntry* Journal::Find(uint64_t request) {
  const auto it = entries_.find(request);
  return it == entries_.end() ? nullptr : &it->second;
}

void Journal::Erase(uint64_t request) { entries_.erase(request); }

Journal::Verdict Journal::Judge(uint64_t incarnation, uint64_t request, uint32_t index) {
  const JournalEntry* entry = Find(request);
  if (entry == nullptr || entry->incarnation != incarnation) return Verdict::kStale;
  if (index < entry->sent.size()) return Verdict::kStale;
  return index == entry->sent.size() ? Verdict::kDeliver : Verdict::kGap;
}

bool Journal::HasId(const std::string& id) const {
  return std::ranges::any_of(entries_,
                             [&](const auto& item) { return item.second.accepted.id == id; });
}

template <typename Predicate>
std::vector<uint64_t> Journal::Where(Predicate predicate) const {
  std::vector<uint64_t> requests;
  for (const auto& [request, entry] : entries_) {
    if (predicate(entry)) requests.push_back(request);
  }
  return requests;
}

std::vector<uint64_t> Journal::AssignedTo(uint64_t incarnation) const {
  return Where([=](const JournalEntry& entry) { return entry.incarnation == incarnation; });
}
int64_t Journal::Started(uint64_t incarnation) const {
  return std::ranges::count_if(entries_, [=](const auto& item) {
    return item.second.incarnation == incarnation && item.second.started;
  });
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

v1::Submit ToSubmit(const JournalEntry& entry) {
  const AcceptedRequest& accepted = entry.accepted;
  v1::Submit submit;
  submit.set_request(entry.request);
  submit.mutable_prompt()->Add(accepted.prompt.begin(), accepted.prompt.end());
  submit.mutable_prompt()->Add(entry.sent.begin(), entry.sent.end());
  submit.set_first_draw(static_cast<uint32_t>(entry.sent.size()));
  submit.set_max_tokens(accepted.max_tokens - static_cast<int32_t>(entry.sent.size()));
  submit.set_temperature(accepted.sampling.temperature);
  submit.set_top_k(accepted.sampling.top_k);
  submit.set_top_p(accepted.sampling.top_p);
  submit.set_min_p(accepted.sampling.min_p);
  submit.set_seed(accepted.sampling.seed);
  submit.mutable_stop_tokens()->Add(accepted.stop_tokens.begin(), accepted.stop_tokens.end());
  submit.set_num_logprobs(accepted.num_logprobs);
  return submit;
}

}  // namespace trireme
