// What the dispatcher notes of a request for metrics, traces and usage.
#include <utility>

#include "launcher/coordinator/dispatcher.h"

namespace trireme {

RequestRecord Dispatcher::RecordOf(const JournalEntry& entry, TimePoint now) const {
  RequestRecord record{.id = entry.id,
                       .tenant = entry.request.tenant,
                       .group = entry.group,
                       .choice = static_cast<int32_t>(entry.request.sequence),
                       .to_end = now - entry.accepted,
                       .beginning = entry.beginning,
                       .prompt_tokens = static_cast<int64_t>(entry.request.prompt.size()),
                       .completion_tokens = static_cast<int64_t>(entry.sent.size()),
                       .cached_tokens = entry.cached_tokens,
                       .device_seconds = entry.device_seconds,
                       .losses = entry.losses};
  if (entry.first_token.has_value()) record.to_first_token = *entry.first_token - entry.accepted;
  return record;
}

void Dispatcher::NoteToken(JournalEntry& entry, const v1::TokenUpdate& update) {
  const TimePoint now = options_.now();
  const uint64_t incarnation = *entry.incarnation;
  registry_.OnToken(incarnation, now);
  if (update.has_beginning()) {
    const v1::Beginning& beginning = update.beginning();
    entry.beginning = {.queued_ms = beginning.queued_ms(),
                       .prefill_ms = beginning.prefill_ms(),
                       .cached_tokens = beginning.cached_tokens()};
    // What it used before its first token is judged by how many run now.
    entry.device_mark =
        registry_.DeviceSeconds(incarnation, now) -
        static_cast<double>(beginning.prefill_ms()) / 1e3 * registry_.DeviceShare(incarnation);
  }
  if (entry.first_token.has_value()) {
    metrics_.OnNextToken(now - entry.last_token);
  } else {
    entry.first_token = now;
    // A replay's prompt holds delivered tokens too; what it finds of them is no saving.
    entry.cached_tokens = entry.beginning.cached_tokens;
    metrics_.OnFirstToken(RecordOf(entry, now));
  }
  entry.last_token = now;
}

void Dispatcher::ChargeDevice(JournalEntry& entry) {
  if (!entry.started) return;
  entry.device_seconds +=
      registry_.DeviceSeconds(*entry.incarnation, options_.now()) - entry.device_mark;
}

void Dispatcher::NoteEnd(JournalEntry& entry, FinishReason finish, const absl::Status& error,
                         Afterwards&) {
  RequestRecord record = RecordOf(entry, options_.now());
  record.finish = finish;
  record.error = error;
  metrics_.OnEnd(record);
}

}  // namespace trireme
