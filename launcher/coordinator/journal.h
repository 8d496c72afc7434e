// Every accepted request with the tokens its client has already been given: enough to go on
// elsewhere when a group dies, so that a client sees a pause and not an error. In memory: it
// outlives groups, not the coordinator.
//
// INV-JOURNAL-1: each index of a request is delivered once, in order, whatever groups say.
// INV-JOURNAL-2: only the incarnation that a request is assigned to may add to it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "launcher/request/admission.h"
#include "launcher/coordinator/group_registry.h"
#include "launcher/coordinator/mailbox.h"
#include "runtime/engine/request.h"

namespace trireme {

// To a client: one token, the end, or both.
struct StreamEvent {
  uint32_t index = 0;
  std::optional<SampledToken> token;
  FinishReason finish = FinishReason::kNone;
  absl::Status error;  // when finish is kError or kCancelled
};
using StreamMailbox = Mailbox<StreamEvent>;

struct JournalEntry {
  uint64_t request = 0;
  AcceptedRequest accepted;
  std::shared_ptr<StreamMailbox> stream;
  std::vector<int32_t> sent;            // tokens delivered so far
  std::optional<uint64_t> incarnation;  // who works on it; nothing: waits for a group
  bool started = false;                 // that group has sent a token
  TimePoint deadline;
  // Of the losses it lived through.
  int losses = 0;
  TimePoint lost_at;
  std::string last_cause;
};

class Journal {
 public:
  // What a group's word on (request, incarnation, index) is worth.
  enum class Verdict {
    kDeliver,
    kStale,  // unknown request, older incarnation, or an index already delivered: drop it
    kGap,    // an index was skipped: the group is broken
  };

  // The new request's number; never reused. The entry waits for a group.
  uint64_t Add(AcceptedRequest accepted, std::shared_ptr<StreamMailbox> stream, TimePoint deadline);
  // nullptr when unknown (ended, or never was). Valid until the next Add or Erase.
  JournalEntry* Find(uint64_t request);
  void Erase(uint64_t request);

  Verdict Judge(uint64_t incarnation, uint64_t request, uint32_t index);

  bool HasId(const std::string& id) const;
  size_t size() const { return entries_.size(); }
  // In order of acceptance.
  std::vector<uint64_t> AssignedTo(uint64_t incarnation) const;
  std::vector<uint64_t> Unassigned() const;
  int64_t Started(uint64_t incarnation) const;  // of those, how many have had a token from it
  std::vector<uint64_t> PastDeadline(TimePoint now) const;
  std::vector<uint64_t> All() const;

 private:
  template <typename Predicate>
  std::vector<uint64_t> Where(Predicate predicate) const;

  std::map<uint64_t, JournalEntry> entries_;
  uint64_t last_request_ = 0;
};

// The message that starts a request, or continues it after a loss: the delivered tokens become the
// prompt's end, and indices and draws go on from there.
v1::Submit ToSubmit(const JournalEntry& entry);

}  // namespace trireme
