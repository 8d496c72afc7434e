// Every accepted request with the tokens its client has already been given: enough to go on
// elsewhere when a group dies, so that a client sees a pause and not an error. In memory: it
// outlives groups, not the coordinator.
//
// A call for n completions is n entries with numbers that follow each other; each is given to a
// group, lost and continued by itself. They share the client's stream.
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
#include "launcher/coordinator/group_registry.h"
#include "launcher/coordinator/mailbox.h"
#include "launcher/request/admission.h"
#include "runtime/engine/request.h"

namespace trireme {

// To a client: one token, the end of a choice, or both.
struct StreamEvent {
  int32_t choice = 0;
  uint32_t index = 0;      // in the completion; in the prompt where of_prompt
  bool of_prompt = false;  // a prompt token with its log-probability
  std::optional<SampledToken> token;
  int64_t cached_tokens = 0;  // of the prompt; with the first token of a choice
  FinishReason finish = FinishReason::kNone;
  absl::Status error;  // when finish is kError or kCancelled
};
using StreamMailbox = Mailbox<StreamEvent>;

// What an accepted call came to, once its last completion has ended.
struct CallEnd {
  std::string id;
  std::string tenant;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;  // of all completions, as delivered
  int32_t running = 0;            // completions that have not ended; 0 at the end
  absl::Status status;            // the first error among them; CANCELLED: its client is gone
};

// One completion.
struct JournalEntry {
  uint64_t number = 0;
  uint64_t call = 0;  // the number of its first choice
  std::string id;     // of the call, for logs
  Request request;    // as accepted
  std::shared_ptr<StreamMailbox> stream;
  std::shared_ptr<CallEnd> so_far;      // of the call, shared by its completions
  std::vector<int32_t> sent;            // tokens delivered so far
  uint32_t prompt_scores = 0;           // log-probabilities of prompt tokens delivered so far
  std::optional<uint64_t> incarnation;  // who works on it; nothing: waits for a group
  bool started = false;                 // that group has sent a token
  TimePoint accepted;
  std::optional<TimePoint> first_token;  // of the completion, whoever made it
  TimePoint last_token;
  Beginning beginning;        // in the group that works on it now
  int64_t cached_tokens = 0;  // of the prompt, when it was first read
  double device_seconds = 0;  // used in groups before this one
  double device_mark = 0;     // the group's, when it began there
  std::string group;          // the last that was given it
  TimePoint deadline;
  bool clients_deadline = false;  // the deadline is the client's, not the coordinator's
  // Of the losses it lived through.
  int losses = 0;
  TimePoint lost_at;
  std::string last_cause;
  std::shared_ptr<QuotaLease> lease;  // of AcceptedRequest
};

class Journal {
 public:
  // What a group's word on (request, incarnation, index) is worth.
  enum class Verdict {
    kDeliver,
    kStale,  // unknown request, older incarnation, or an index already delivered: drop it
    kGap,    // an index was skipped: the group is broken
  };

  // The number of the new call, which is that of its first choice; never reused. Its entries wait
  // for a group until the request has run for `limit`, or the client's own deadline.
  uint64_t Add(const AcceptedRequest& accepted, std::shared_ptr<StreamMailbox> stream,
               TimePoint now, std::chrono::milliseconds limit);
  // nullptr when unknown (ended, or never was). Valid until it is erased.
  JournalEntry* Find(uint64_t request);
  void Erase(uint64_t request);

  Verdict Judge(uint64_t incarnation, const v1::TokenUpdate& update);

  // Of a running call of this tenant: others' ids are not to be found out by trying.
  bool HasId(const std::string& id, const std::string& tenant) const;
  size_t size() const { return entries_.size(); }
  // In order of acceptance, and of choice.
  std::vector<uint64_t> OfCall(uint64_t call) const;
  std::vector<uint64_t> AssignedTo(uint64_t incarnation) const;
  std::vector<uint64_t> Unassigned() const;
  // Requests of an incarnation that have had no token from it, by tenant.
  std::map<std::string, int64_t> NotStarted(uint64_t incarnation) const;
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
// prompt's end, and indices, draws, penalties and stop strings go on from there. A prompt that was
// scored is not scored again.
v1::Submit ToSubmit(const JournalEntry& entry, TimePoint now);

}  // namespace trireme
