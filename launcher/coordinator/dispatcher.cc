#include "launcher/coordinator/dispatcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/coordinator/router.h"
#include "launcher/load/refusal.h"
#include "launcher/request/token_update.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr std::string_view kNoGroup =
    "no worker group is ready; try again, or see `trireme status`";
// A group is restarted in seconds; a full queue moves on in about one.
constexpr std::chrono::seconds kNoGroupRetry{5};
constexpr std::chrono::seconds kFullRetry{1};

size_t UnreadBytes(const StreamEvent& event) {
  const size_t top = event.token ? event.token->top_tokens.size() : 0;
  return sizeof(StreamEvent) + top * (sizeof(int32_t) + sizeof(float));
}

// A group that ends a request so, without having been asked to, is leaving or broken: the request
// must go on elsewhere.
bool MeansGroupLoss(const v1::TokenUpdate& update) {
  return update.end() == v1::UPDATE_END_CANCELLED ||
         (update.end() == v1::UPDATE_END_ERROR &&
          update.error_code() == static_cast<int>(absl::StatusCode::kUnavailable));
}

}  // namespace

Dispatcher::Dispatcher(DispatcherOptions options)
    : options_(std::move(options)),
      metrics_({.prefix = options_.metrics.prefix, .model_name = options_.model_name}) {}

void Dispatcher::Afterwards::Run() const {
  for (const auto& log : logs) log();
  for (const auto& stream : streams) stream->Wake();
  for (const auto& link : links) link->Wake();
}

ServedModel Dispatcher::served() const {
  MutexLock lock(mutex_);
  ServedModel model;
  model.name = options_.model_name;
  model.vocabulary = options_.vocabulary;
  if (const v1::Hello* hello = registry_.served(); hello != nullptr) {
    model.vocabulary = hello->vocabulary();
    model.max_positions = hello->max_positions();
    model.stop_tokens.assign(hello->stop_tokens().begin(), hello->stop_tokens().end());
  }
  return model;
}

std::string Dispatcher::identity() const {
  MutexLock lock(mutex_);
  const v1::Hello* hello = registry_.served();
  return hello == nullptr ? std::string() : hello->model_identity();
}

std::vector<GroupSnapshot> Dispatcher::Groups() const {
  MutexLock lock(mutex_);
  std::vector<GroupSnapshot> groups = registry_.Snapshots(options_.now());
  for (GroupSnapshot& group : groups) {
    // A heartbeat is up to 250 ms old; a request whose tokens come is surely running.
    group.running = std::max(group.running, journal_.Started(group.incarnation));
  }
  return groups;
}

size_t Dispatcher::requests() const {
  MutexLock lock(mutex_);
  return journal_.size();
}

absl::StatusOr<uint64_t> Dispatcher::Place(const AcceptedRequest& accepted, TimePoint now) {
  using absl::StatusCode;
  if (!accepting_) {
    return Refusal(StatusCode::kUnavailable, RefusalReason::kStopping,
                   "the coordinator is stopping; try another", kNoGroupRetry);
  }
  if (!registry_.AnyReady(now)) {
    return Refusal(StatusCode::kUnavailable, RefusalReason::kNoGroup, kNoGroup, kNoGroupRetry);
  }
  if (journal_.HasId(accepted.id, accepted.request.tenant)) {
    return absl::AlreadyExistsError(
        "request_id: a request of that id is running; choose another, or leave it empty");
  }
  if (journal_.size() + static_cast<size_t>(accepted.choices) > options_.max_requests) {
    return Refusal(
        StatusCode::kResourceExhausted, RefusalReason::kFull,
        absl::StrFormat("the queue is full (%d requests); try again later", options_.max_requests),
        kFullRetry);
  }
  const std::vector<GroupSnapshot> groups = registry_.Snapshots(now);
  const auto chosen = ChooseGroup(groups, accepted.choices);
  if (!chosen.has_value()) {
    return Refusal(StatusCode::kResourceExhausted, RefusalReason::kFull,
                   "every group's queue is full; try again later", kFullRetry);
  }
  std::map<std::string, int64_t> waiting = journal_.NotStarted(*chosen);
  const int64_t own = waiting[accepted.request.tenant];
  TRI_RETURN_IF_ERROR(CheckWait(*std::ranges::find(groups, *chosen, &GroupSnapshot::incarnation),
                                {.requests = accepted.choices,
                                 .tenants_waiting = own,
                                 .other_tenants = static_cast<int64_t>(waiting.size()) - 1,
                                 .timeout = accepted.timeout},
                                options_.max_queue));
  return *chosen;
}

absl::StatusOr<uint64_t> Dispatcher::Accept(const AcceptedRequest& accepted,
                                            std::shared_ptr<StreamMailbox> stream) {
  if (accepted.timeout.has_value() && accepted.timeout->count() <= 0) {
    const absl::Status late =
        absl::DeadlineExceededError("the call's deadline had passed when it arrived");
    metrics_.OnRefused(late);
    return late;
  }
  if (const absl::Status status = options_.may_accept(); !status.ok()) {
    metrics_.OnRefused(status);
    return status;
  }
  if (options_.callers_required && accepted.lease == nullptr) {
    const absl::Status unasked =
        absl::UnauthenticatedError("this way in does not ask for API keys yet; use another");
    metrics_.OnRefused(unasked);
    return unasked;
  }
  Afterwards after;
  uint64_t call = 0;
  {
    MutexLock lock(mutex_);
    const TimePoint now = options_.now();
    const absl::StatusOr<uint64_t> placed = Place(accepted, now);
    if (!placed.ok()) {
      metrics_.OnRefused(placed.status());
      return placed.status();
    }
    const uint64_t group = *placed;
    call = journal_.Add(accepted, std::move(stream), now, options_.request_timeout);
    for (const uint64_t request : journal_.OfCall(call)) {
      // Lost by a sending before: the rest waits for the next group, as every request of a loss.
      if (!registry_.attached(group)) break;
      registry_.OnAccept(group, accepted.request.max_tokens);
      Assign(group, *journal_.Find(request), after);
    }
  }
  after.Run();
  return call;
}

void Dispatcher::Cancel(uint64_t call) {
  Afterwards after;
  {
    MutexLock lock(mutex_);
    for (const uint64_t request : journal_.OfCall(call)) {
      JournalEntry* entry = journal_.Find(request);
      if (entry == nullptr) continue;  // ended with another's group
      CancelOnGroup(*entry, after);
      after.logs.push_back([id = entry->id] {
        LogDebug("request cancelled by its client", {{"request", id}});
      });
      NoteEnd(*entry, FinishReason::kCancelled, absl::OkStatus(), after);
      Forget(*entry, absl::CancelledError("the client is gone"), after);
    }
  }
  after.Run();
}

absl::StatusOr<uint64_t> Dispatcher::Attach(const v1::Hello& hello,
                                            std::shared_ptr<LinkMailbox> link) {
  Afterwards after;
  uint64_t incarnation = 0;
  {
    MutexLock lock(mutex_);
    if (!accepting_) return absl::UnavailableError("the coordinator is stopping");
    TRI_ASSIGN_OR_RETURN(incarnation, registry_.Attach(hello, std::move(link), options_.now()));
    v1::CoordinatorMessage message;
    message.mutable_welcome()->set_incarnation(incarnation);
    Send(incarnation, std::move(message), after);
    events_.push_back(
        {.kind = CoordinatorEvent::Kind::kGroupAttached, .group = hello.group(), .cause = {}});
    PlaceWaiting(after);
  }
  LogInfo("group attached", {{"group", hello.group()},
                             {"incarnation", incarnation},
                             {"ranks", hello.hosts_size()},
                             {"mesh", hello.mesh()},
                             {"model", hello.model()}});
  after.Run();
  return incarnation;
}

void Dispatcher::OnHeartbeat(uint64_t incarnation, const v1::Heartbeat& heartbeat) {
  MutexLock lock(mutex_);
  registry_.Heartbeat(incarnation, heartbeat, options_.now());
}

void Dispatcher::OnTokens(uint64_t incarnation, const v1::TokenBatch& batch) {
  Afterwards after;
  {
    MutexLock lock(mutex_);
    if (batch.incarnation() != incarnation || !registry_.attached(incarnation)) return;
    for (const v1::TokenUpdate& update : batch.updates()) {
      if (!Apply(incarnation, update, after)) break;
    }
  }
  after.Run();
}

bool Dispatcher::Apply(uint64_t incarnation, const v1::TokenUpdate& update, Afterwards& after) {
  JournalEntry* entry = journal_.Find(update.request());
  if (entry == nullptr || entry->incarnation != incarnation) return true;
  if (MeansGroupLoss(update)) {
    Lose(incarnation,
         absl::UnavailableError(absl::StrFormat("group '%s' ended a request by itself: %s",
                                                registry_.name(incarnation),
                                                update.error_message())),
         after);
    return false;
  }
  if (!update.has_token()) {
    if (update.end() == v1::UPDATE_END_ERROR) EndWithError(*entry, ErrorOf(update), after);
    return true;
  }
  switch (journal_.Judge(incarnation, update)) {
    case Journal::Verdict::kDeliver:
      Deliver(*entry, update, after);
      return true;
    case Journal::Verdict::kStale:
      return true;
    case Journal::Verdict::kGap:
      Lose(incarnation,
           absl::InternalError(absl::StrFormat(
               "group '%s' skipped tokens of a request: expected index %d; got %d",
               registry_.name(incarnation),
               update.of_prompt() ? entry->prompt_scores + 1 : entry->sent.size(), update.index())),
           after);
      return false;
  }
  return true;
}

void Dispatcher::Deliver(JournalEntry& entry, const v1::TokenUpdate& update, Afterwards& after) {
  StreamEvent event{.choice = static_cast<int32_t>(entry.request.sequence),
                    .index = update.index(),
                    .of_prompt = update.of_prompt(),
                    .token = TokenOf(update),
                    .finish = FinishOf(update),
                    .error = {}};
  if (update.of_prompt()) {
    ++entry.prompt_scores;
  } else {
    entry.sent.push_back(update.token());
    if (entry.lease != nullptr) entry.lease->Take(1);
  }
  if (!update.of_prompt()) {
    NoteToken(entry, update);
    if (entry.sent.size() == 1) event.cached_tokens = entry.cached_tokens;
  }
  entry.started = true;
  if (event.finish == FinishReason::kError) {
    EndWithError(entry, ErrorOf(update), after);
    return;
  }
  if (event.finish != FinishReason::kNone) {
    End(entry, std::move(event), after);
    return;
  }
  // Scores of a prompt come all at once, and no reader is fast enough: they are bounded by the
  // prompt's length instead.
  const size_t bytes = event.of_prompt ? 0 : UnreadBytes(event);
  if (entry.stream->Put(std::move(event), bytes)) {
    after.streams.push_back(entry.stream);
    return;
  }
  CancelOnGroup(entry, after);
  EndWithError(entry,
               Refusal(absl::StatusCode::kResourceExhausted, RefusalReason::kSlowReader,
                       "the client reads too slowly and was cut off; read faster or ask for less",
                       kFullRetry),
               after);
}

void Dispatcher::Detach(uint64_t incarnation, const absl::Status& cause) {
  Afterwards after;
  {
    MutexLock lock(mutex_);
    if (!registry_.attached(incarnation)) return;
    Lose(incarnation, cause, after);
  }
  after.Run();
}

absl::StatusOr<std::string> Dispatcher::Trace(std::string& group, Deadline deadline) {
  TRI_ASSIGN_OR_RETURN(const uint64_t number, traces_.Open());
  bool asked = false;
  Afterwards after;
  {
    MutexLock lock(mutex_);
    for (const GroupSnapshot& snapshot : registry_.Snapshots(options_.now())) {
      if (asked || (!group.empty() && snapshot.name != group)) continue;
      v1::CoordinatorMessage message;
      message.mutable_trace()->set_number(number);
      Send(snapshot.incarnation, std::move(message), after);
      group = snapshot.name;
      asked = true;
    }
  }
  after.Run();
  if (asked) return traces_.Take(number, deadline);
  traces_.Take(number, Deadline::AfterMs(0)).status().IgnoreError();
  return absl::NotFoundError(group.empty()
                                 ? "no worker group is attached"
                                 : absl::StrFormat("no worker group '%s' is attached", group));
}

void Dispatcher::OnTrace(v1::TraceAnswer answer) {
  traces_.Put(answer.number(), std::move(*answer.mutable_json()));
}

void Dispatcher::Tick() {
  Afterwards after;
  std::vector<CoordinatorEvent> events;
  {
    MutexLock lock(mutex_);
    const TimePoint now = options_.now();
    for (const auto& [incarnation, cause] : registry_.Overdue(now)) {
      Lose(incarnation, cause, after);
    }
    ExpireRequests(now, after);
    PlaceWaiting(after);
    const bool serving = accepting_ && registry_.AnyReady(now);
    if (serving != serving_) {
      serving_ = serving;
      events_.push_back(
          {.kind = serving ? CoordinatorEvent::Kind::kServing : CoordinatorEvent::Kind::kNotServing,
           .group = {},
           .cause = {}});
    }
    events.swap(events_);
  }
  after.Run();
  for (const CoordinatorEvent& event : events) options_.observer(event);
}

void Dispatcher::StopAccepting() {
  MutexLock lock(mutex_);
  accepting_ = false;
}

void Dispatcher::EndAll(const std::string& reason) {
  Afterwards after;
  {
    MutexLock lock(mutex_);
    for (const uint64_t request : journal_.All()) {
      JournalEntry* entry = journal_.Find(request);
      if (entry == nullptr) continue;  // ended with another's group
      CancelOnGroup(*entry, after);
      EndWithError(*entry, absl::UnavailableError(reason), after);
    }
    for (const GroupSnapshot& group : registry_.Snapshots(options_.now())) {
      v1::CoordinatorMessage message;
      message.mutable_shutdown()->set_reason(reason);
      Send(group.incarnation, std::move(message), after);
    }
  }
  after.Run();
}

void Dispatcher::Send(uint64_t incarnation, v1::CoordinatorMessage message, Afterwards& after) {
  const std::shared_ptr<LinkMailbox> link = registry_.link(incarnation);
  const size_t bytes = message.ByteSizeLong() + sizeof(LinkItem);
  if (link->Put({.message = std::move(message), .close = false, .status = {}}, bytes)) {
    after.links.push_back(link);
    return;
  }
  Lose(incarnation,
       absl::UnavailableError(
           absl::StrFormat("group '%s' does not read its link", registry_.name(incarnation))),
       after);
}

void Dispatcher::Assign(uint64_t incarnation, JournalEntry& entry, Afterwards& after) {
  entry.incarnation = incarnation;
  entry.started = false;
  entry.group = registry_.name(incarnation);
  registry_.AddAssigned(incarnation, 1, options_.now());
  v1::CoordinatorMessage message;
  *message.mutable_submit() = ToSubmit(entry, options_.now());
  Send(incarnation, std::move(message), after);
}

void Dispatcher::Unassign(JournalEntry& entry) {
  const uint64_t incarnation = *entry.incarnation;
  ChargeDevice(entry);
  registry_.AddAssigned(incarnation, -1, options_.now());
  if (entry.started) registry_.OnEnd(incarnation, static_cast<int64_t>(entry.sent.size()));
  entry.incarnation.reset();
}

void Dispatcher::CancelOnGroup(JournalEntry& entry, Afterwards& after) {
  if (!entry.incarnation.has_value()) return;
  const uint64_t incarnation = *entry.incarnation;
  // First, so that the entry is nobody's should the group be lost by the sending.
  Unassign(entry);
  entry.lost_at = options_.now();
  v1::CoordinatorMessage message;
  message.mutable_cancel()->set_request(entry.number);
  Send(incarnation, std::move(message), after);
}

void Dispatcher::Forget(JournalEntry& entry, const absl::Status& status, Afterwards& after) {
  CallEnd& call = *entry.so_far;
  call.completion_tokens += static_cast<int64_t>(entry.sent.size());
  call.status.Update(status);
  if (--call.running == 0) {
    after.logs.push_back([this, ended = entry.so_far] { options_.on_end(*ended); });
  }
  journal_.Erase(entry.number);
}

void Dispatcher::End(JournalEntry& entry, StreamEvent last, Afterwards& after) {
  if (entry.incarnation.has_value()) Unassign(entry);
  NoteEnd(entry, last.finish, last.error, after);
  const absl::Status status = last.error;
  entry.stream->PutLast(std::move(last));
  after.streams.push_back(entry.stream);
  Forget(entry, status, after);
}

void Dispatcher::EndWithError(JournalEntry& entry, const absl::Status& error, Afterwards& after) {
  after.logs.push_back([id = entry.id, delivered = entry.sent.size(), error] {
    LogInfo("request failed",
            {{"request", id}, {"delivered", delivered}, {"error", std::string(error.message())}});
  });
  End(entry,
      StreamEvent{.choice = static_cast<int32_t>(entry.request.sequence),
                  .index = static_cast<uint32_t>(entry.sent.size()),
                  .of_prompt = false,
                  .token = std::nullopt,
                  .finish = FinishReason::kError,
                  .error = error},
      after);
}

}  // namespace trireme
