// The dispatcher over simulated time, with the test in the place of clients and groups.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launcher/coordinator/dispatcher.h"
#include "tests/support/status_matchers.h"

namespace trireme {

// A group's end of a link.
struct FakeGroup {
  std::shared_ptr<LinkMailbox> link = std::make_shared<LinkMailbox>(1 << 20, [] {});
  uint64_t incarnation = 0;

  // Messages since the last call; the stream's end as `closed`.
  std::vector<v1::CoordinatorMessage> Read() {
    std::vector<v1::CoordinatorMessage> messages;
    while (auto item = link->Take()) {
      if (item->close) {
        closed = item->status;
      } else {
        messages.push_back(item->message);
      }
    }
    return messages;
  }
  std::vector<v1::Submit> Submits() {
    std::vector<v1::Submit> submits;
    for (const auto& message : Read()) {
      if (message.has_submit()) submits.push_back(message.submit());
      if (message.has_cancel()) cancelled.push_back(message.cancel().request());
      if (message.has_shutdown()) told_to_leave = true;
    }
    return submits;
  }

  std::optional<absl::Status> closed;
  std::vector<uint64_t> cancelled;
  bool told_to_leave = false;
};

struct FakeClient {
  std::shared_ptr<StreamMailbox> stream = std::make_shared<StreamMailbox>(1 << 16, [] {});
  std::vector<int32_t> tokens;
  std::vector<uint32_t> indices;
  std::vector<std::pair<int32_t, uint32_t>> choices;  // (choice, index) of each token
  std::vector<uint32_t> scores;                       // indices of prompt tokens
  FinishReason finish = FinishReason::kNone;
  int ends = 0;
  absl::Status error;

  FakeClient& Read() {
    while (auto event = stream->Take()) {
      if (event->token && event->of_prompt) {
        scores.push_back(event->index);
      } else if (event->token) {
        tokens.push_back(event->token->token);
        indices.push_back(event->index);
        choices.emplace_back(event->choice, event->index);
      }
      if (event->finish == FinishReason::kNone) continue;
      ++ends;
      finish = event->finish;
      error = event->error;
    }
    return *this;
  }
};

class DispatcherTest : public testing::Test {
 protected:
  DispatcherTest()
      : dispatcher_(
            {.liveness = {},
             .model_name = "m",
             .tokenizer_hash = "t1",
             .vocabulary = 100,
             .max_requests = 8,
             .request_timeout = std::chrono::seconds(600),
             .replay_timeout = std::chrono::seconds(30),
             .max_losses = 2,
             .now = [this] { return now_; },
             .observer = [this](const CoordinatorEvent& event) { events_.push_back(event); },
             .may_accept = [this] { return may_accept_; },
             .on_end = [this](const CallEnd& end) { ends_.push_back(end); }}) {}

  void Attach(const std::string& name, FakeGroup& group, int64_t max_sequences = 4,
              int64_t max_waiting = 0) {
    v1::Hello hello;
    hello.set_group(name);
    hello.set_model_identity("m1");
    hello.set_vocabulary(100);
    hello.set_max_positions(64);
    hello.set_max_sequences(max_sequences);
    hello.set_max_waiting(max_waiting);
    hello.add_hosts("h");
    const auto incarnation = dispatcher_.Attach(hello, group.link);
    ASSERT_OK(incarnation);
    group.incarnation = *incarnation;
  }

  static AcceptedRequest Accepted(const std::string& id) {
    AcceptedRequest accepted;
    accepted.id = id;
    accepted.request.prompt = {1, 2};
    accepted.request.max_tokens = 8;
    return accepted;
  }
  absl::StatusOr<uint64_t> Accept(FakeClient& client, const std::string& id = "a") {
    return dispatcher_.Accept(Accepted(id), client.stream);
  }
  absl::StatusOr<uint64_t> AcceptChoices(FakeClient& client, int32_t choices) {
    AcceptedRequest accepted = Accepted("a");
    accepted.choices = choices;
    return dispatcher_.Accept(accepted, client.stream);
  }

  void SendToken(const FakeGroup& group, uint64_t request, uint32_t index,
                 v1::UpdateEnd end = v1::UPDATE_END_NONE) {
    v1::TokenBatch batch;
    batch.set_incarnation(group.incarnation);
    v1::TokenUpdate* update = batch.add_updates();
    update->set_request(request);
    update->set_index(index);
    update->set_token(static_cast<int32_t>(10 + index));
    update->set_end(end);
    dispatcher_.OnTokens(group.incarnation, batch);
  }
  void SendScore(const FakeGroup& group, uint64_t request, uint32_t index) {
    v1::TokenBatch batch;
    batch.set_incarnation(group.incarnation);
    v1::TokenUpdate* update = batch.add_updates();
    update->set_request(request);
    update->set_index(index);
    update->set_token(2);
    update->set_of_prompt(true);
    dispatcher_.OnTokens(group.incarnation, batch);
  }
  void SendError(const FakeGroup& group, uint64_t request, absl::StatusCode code) {
    v1::TokenBatch batch;
    batch.set_incarnation(group.incarnation);
    v1::TokenUpdate* update = batch.add_updates();
    update->set_request(request);
    update->set_end(v1::UPDATE_END_ERROR);
    update->set_error_code(static_cast<int>(code));
    update->set_error_message("because");
    dispatcher_.OnTokens(group.incarnation, batch);
  }

  TimePoint now_{std::chrono::seconds(1'000)};
  std::vector<CoordinatorEvent> events_;
  absl::Status may_accept_;
  std::vector<CallEnd> ends_;
  Dispatcher dispatcher_;
};

}  // namespace trireme
