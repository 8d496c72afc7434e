#include "launcher/link/session.h"

#include <pthread.h>

#include <iterator>
#include <thread>
#include <utility>

#include "launcher/link/heartbeat.h"
#include "launcher/request/submit.h"
#include "launcher/request/token_update.h"
#include "runtime/base/log.h"
#include "runtime/engine/clock.h"

namespace trireme {
namespace {

constexpr size_t kMaxUpdatesPerMessage = 1024;
// Asked for and not yet sent; more are not answered.
constexpr size_t kMostTraces = 8;
// What a coordinator gets to close the stream after Goodbye.
constexpr std::chrono::milliseconds kGoodbyeGrace{1'000};

}  // namespace

void Outbox::Put(v1::TokenUpdate update) {
  MutexLock lock(mutex_);
  if (closed_) return;
  if (updates_.size() >= kMaxUpdates) {
    overflowed_ = true;
    return;
  }
  updates_.push_back(std::move(update));
  changed_.NotifyAll();
}

bool Outbox::overflowed() const {
  MutexLock lock(mutex_);
  return overflowed_;
}

void Outbox::Poke() {
  MutexLock lock(mutex_);
  poked_ = true;
  changed_.NotifyAll();
}

void Outbox::Close() {
  MutexLock lock(mutex_);
  closed_ = true;
  updates_.clear();
}

std::vector<v1::TokenUpdate> Outbox::Take(size_t most, Deadline deadline) {
  MutexLock lock(mutex_);
  while (!poked_ && updates_.empty()) {
    if (!changed_.WaitUntil(mutex_, deadline)) break;
  }
  poked_ = false;
  if (updates_.size() <= most) return std::exchange(updates_, {});
  const auto end = updates_.begin() + static_cast<std::ptrdiff_t>(most);
  std::vector<v1::TokenUpdate> taken(std::make_move_iterator(updates_.begin()),
                                     std::make_move_iterator(end));
  updates_.erase(updates_.begin(), end);
  return taken;
}

Session::Session(std::unique_ptr<CoordinatorLink> link, Engine& engine, uint64_t& last_engine_id,
                 std::function<std::string()> trace)
    : link_(std::move(link)),
      engine_(engine),
      last_engine_id_(last_engine_id),
      trace_(std::move(trace)) {}

Session::~Session() {
  outbox_->Close();
  MutexLock lock(mutex_);
  for (const auto& [request, engine_id] : engine_ids_) engine_.Cancel(engine_id);
}

Session::End Session::Run(std::chrono::milliseconds heartbeat, std::stop_token stop) {
  std::jthread reader([this] {
    pthread_setname_np(pthread_self(), "link-read");
    ReadLoop();
  });
  std::jthread compiler([this] {
    pthread_setname_np(pthread_self(), "link-grammar");
    CompileLoop();
  });
  const std::stop_callback on_stop(stop, [this] { outbox_->Poke(); });
  End end = End::kLinkBroke;
  Deadline next_heartbeat = Deadline::AfterMs(0);
  while (true) {
    std::vector<v1::TokenUpdate> updates = outbox_->Take(kMaxUpdatesPerMessage, next_heartbeat);
    const EngineStatus status = engine_.status();
    const bool changed = status.running != reported_.running || status.waiting != reported_.waiting;
    if (changed || next_heartbeat.Passed()) {
      if (!WriteHeartbeat(status)) break;
      next_heartbeat = Deadline::After(heartbeat);
    }
    if (outbox_->overflowed() || !WriteUpdates(std::move(updates)) || !WriteTraces()) break;
    if (!status.health.ok()) {
      SayGoodbye(absl::UnavailableError(std::string(status.health.message())));
      end = End::kEngineLost;
      break;
    }
    MutexLock lock(mutex_);
    if (reader_done_) break;
    if (told_to_leave_ || stop.stop_requested()) {
      end = End::kToldToLeave;
      break;
    }
  }
  if (end == End::kToldToLeave) SayGoodbye(absl::OkStatus());
  {
    MutexLock lock(mutex_);
    const Deadline grace = Deadline::After(kGoodbyeGrace);
    while (end != End::kLinkBroke && !reader_done_) {
      if (!reader_ended_.WaitUntil(mutex_, grace)) break;
    }
    if (!reader_done_) link_->Abort();
  }
  reader.join();
  link_status_ = link_->Finish();
  return end;
}

void Session::ReadLoop() {
  v1::CoordinatorMessage message;
  while (link_->Read(message)) {
    switch (message.kind_case()) {
      case v1::CoordinatorMessage::kSubmit:
        Submit(message.submit());
        break;
      case v1::CoordinatorMessage::kCancel:
        Cancel(message.cancel().request());
        break;
      case v1::CoordinatorMessage::kTrace: {
        MutexLock lock(mutex_);
        if (traces_asked_.size() < kMostTraces) traces_asked_.push_back(message.trace().number());
        break;
      }
      case v1::CoordinatorMessage::kShutdown: {
        LogInfo("told to leave", {{"reason", message.shutdown().reason()}});
        MutexLock lock(mutex_);
        told_to_leave_ = true;
        break;
      }
      default:  // of a newer coordinator: not ours to understand
        break;
    }
    if (message.has_shutdown() || message.has_trace()) outbox_->Poke();
  }
  {
    MutexLock lock(mutex_);
    reader_done_ = true;
    reader_ended_.NotifyAll();
    constrained_came_.NotifyAll();
  }
  outbox_->Poke();
}

void Session::Submit(const v1::Submit& submit) {
  const uint64_t request = submit.request();
  const uint64_t engine_id = ++last_engine_id_;
  Request work = ToRequest(submit);
  work.id = engine_id;
  if (submit.has_deadline_ms()) work.deadline_ms = SteadyClock().NowMs() + submit.deadline_ms();
  {
    MutexLock lock(mutex_);
    engine_ids_[request] = engine_id;
    if (work.grammar.constrained()) {
      constrained_.push_back({request, std::move(work)});
      constrained_came_.NotifyAll();
      return;
    }
  }
  Start(request, std::move(work));
}

void Session::Start(uint64_t request, Request work) {
  // The engine may call the sink after this session is gone; the outbox, shared, then drops what it
  // gets.
  const auto sink = [outbox = outbox_, request](const TokenEvent& event) {
    outbox->Put(ToUpdate(request, event));
  };
  absl::Status status;
  {
    // A cancellation comes before or after this, not between.
    MutexLock lock(mutex_);
    if (!engine_ids_.contains(request)) return;
    status = engine_.Submit(std::move(work), sink);
  }
  if (!status.ok()) Refuse(request, status);
}

void Session::Refuse(uint64_t request, const absl::Status& status) {
  v1::TokenUpdate update;
  update.set_request(request);
  SetError(status, update);
  outbox_->Put(std::move(update));
}

// Compiles on its own thread, so that requests without a grammar, and cancellations, do not wait
// for those with one.
void Session::CompileLoop() {
  while (true) {
    Constrained next;
    {
      MutexLock lock(mutex_);
      while (constrained_.empty() && !reader_done_) {
        constrained_came_.WaitUntil(mutex_, Deadline::Never());
      }
      if (reader_done_) return;
      next = std::move(constrained_.front());
      constrained_.pop_front();
      if (!engine_ids_.contains(next.request)) continue;
    }
    GrammarCompiler* const grammars = engine_.options().grammars;
    if (grammars != nullptr) {
      // Kept by the compiler: Submit finds it.
      const absl::Status compiled = grammars->Compile(next.work.grammar).status();
      if (!compiled.ok()) {
        Refuse(next.request, compiled);
        continue;
      }
    }
    Start(next.request, std::move(next.work));
  }
}

void Session::Cancel(uint64_t request) {
  uint64_t engine_id = 0;
  {
    MutexLock lock(mutex_);
    const auto found = engine_ids_.find(request);
    if (found == engine_ids_.end()) return;
    engine_id = found->second;
    engine_ids_.erase(found);
  }
  engine_.Cancel(engine_id);
}

bool Session::WriteUpdates(std::vector<v1::TokenUpdate> updates) {
  if (updates.empty()) return true;
  v1::GroupMessage message;
  v1::TokenBatch* batch = message.mutable_tokens();
  batch->set_incarnation(link_->incarnation());
  for (v1::TokenUpdate& update : updates) {
    if (update.end() != v1::UPDATE_END_NONE) {
      MutexLock lock(mutex_);
      engine_ids_.erase(update.request());
    }
    *batch->add_updates() = std::move(update);
  }
  return link_->Write(message);
}

bool Session::WriteTraces() {
  std::vector<uint64_t> numbers;
  {
    MutexLock lock(mutex_);
    numbers.swap(traces_asked_);
  }
  v1::GroupMessage message;
  for (const uint64_t number : numbers) {
    message.mutable_trace()->set_number(number);
    if (message.trace().json().empty()) message.mutable_trace()->set_json(trace_());
    if (!link_->Write(message)) return false;
  }
  return true;
}

bool Session::WriteHeartbeat(const EngineStatus& status) {
  reported_ = status;
  v1::GroupMessage message;
  *message.mutable_heartbeat() = ToHeartbeat(status);
  return link_->Write(message);
}

void Session::SayGoodbye(const absl::Status& status) {
  v1::GroupMessage message;
  message.mutable_goodbye()->set_code(static_cast<int>(status.code()));
  message.mutable_goodbye()->set_message(std::string(status.message()));
  if (!link_->Write(message)) LogDebug("the coordinator left before the goodbye");
}

}  // namespace trireme
