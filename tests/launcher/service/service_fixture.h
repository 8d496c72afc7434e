// Client → gRPC → coordinator → link → leader → engine and back, in one process. The engine's
// executor answers with hashes of what came before, so that a token lost, repeated or misplaced
// anywhere shows in the answer.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "launcher/link/leader.h"
#include "launcher/service/server.h"
#include "runtime/base/mutex.h"
#include "runtime/engine/engine.h"
#include "runtime/text/tokenizer.h"
#include "tests/support/prefix_executor.h"
#include "tests/support/status_matchers.h"
#include "trireme/v1/inference.grpc.pb.h"

namespace trireme {

inline constexpr int64_t kVocabulary = 49'152;
inline constexpr int64_t kPages = 64;
inline constexpr int64_t kPageTokens = 8;
inline constexpr int64_t kExperts = 4;
inline constexpr std::chrono::milliseconds kPatience{30'000};
inline constexpr EngineOptions kEngine{.vocabulary = kVocabulary,
                                       .max_positions = 256,
                                       .pages = kPages,
                                       .page_tokens = kPageTokens,
                                       .experts = kExperts,
                                       .max_sequences = 4,
                                       .max_step_tokens = 16,
                                       .max_waiting = 4};

inline constexpr char kTokenizer[] = TRIREME_SOURCE_DIR "/tests/data/tokenizers/smollm2";

// What the server tells its supervisor.
class EventLog {
 public:
  void Add(const CoordinatorEvent& event) {
    MutexLock lock(mutex_);
    events_.push_back(event);
    changed_.NotifyAll();
  }
  // Waits until an event of that kind (and group, if named) has come; each is waited for once.
  bool WaitFor(CoordinatorEvent::Kind kind, const std::string& group = "") {
    const Deadline deadline = Deadline::After(kPatience);
    MutexLock lock(mutex_);
    while (true) {
      for (auto it = events_.begin(); it != events_.end(); ++it) {
        if (it->kind != kind || (!group.empty() && it->group != group)) continue;
        events_.erase(it);
        return true;
      }
      if (!changed_.WaitUntil(mutex_, deadline)) return false;
    }
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<CoordinatorEvent> events_;
};

// A worker group of one thread: engine and leader, as rank 0 runs them.
class TestGroup {
 public:
  TestGroup(
      const std::string& coordinator, const std::string& name,
      PrefixExecutor::BeforeStep before_step = [](uint64_t) { return absl::OkStatus(); },
      std::chrono::milliseconds heartbeat = std::chrono::milliseconds(50),
      std::chrono::milliseconds away = std::chrono::milliseconds(10'000),
      const std::string& join_token_file = "")
      : tokenizer_(*LoadTokenizer(kTokenizer)),
        engine_(OptionsWith(tokenizer_.get()),
                std::make_unique<PrefixExecutor>(kVocabulary, kPages, kPageTokens,
                                                 std::move(before_step), kExperts)),
        thread_([this, coordinator, name, heartbeat, away, join_token_file](std::stop_token stop) {
          const LeaderOptions options{
              .coordinator = {.address = coordinator, .join_token_file = join_token_file},
              .group = name,
              .heartbeat = heartbeat,
              .connect_timeout = std::chrono::milliseconds(1'000),
              .away_timeout = away,
              .first_pause = std::chrono::milliseconds(10),
              .max_pause = std::chrono::milliseconds(50)};
          const GroupIdentity identity{.model = "m",
                                       .model_identity = identity_,
                                       .tokenizer_hash = "",
                                       .stop_tokens = {},
                                       .hosts = {"here"},
                                       .mesh = "tp=1"};
          result_ = RunLeader(options, identity, engine_, stop);
          done_.release();
        }) {}

  Engine& engine() { return engine_; }
  // How the leader ended; waits for it.
  absl::Status Result() {
    if (!done_.try_acquire_for(kPatience)) return absl::DeadlineExceededError("still leading");
    done_.release();
    return result_;
  }
  void AskToLeave() { thread_.request_stop(); }

 private:
  static EngineOptions OptionsWith(const Tokenizer* tokenizer) {
    EngineOptions options = kEngine;
    options.tokenizer = tokenizer;
    return options;
  }

  const std::unique_ptr<Tokenizer> tokenizer_;
  Engine engine_;
  const std::string identity_ = "identity-1";
  absl::Status result_;
  std::binary_semaphore done_{0};
  std::jthread thread_;
};

class ServiceTest : public testing::Test {
 protected:
  void SetUp() override { StartServer("127.0.0.1:0"); }

  void StartServer(const std::string& listen) {
    ServerOptions options;
    options.listen = listen;
    options.model = kTokenizer;
    options.keys_file = keys_file_;
    options.join_token_file = join_token_file_;
    options.dispatcher.liveness = liveness_;
    options.slow_reader = slow_reader_;
    options.observer = [this](const CoordinatorEvent& event) { events_.Add(event); };
    auto server = Server::Start(options);
    ASSERT_OK(server);
    server_ = *std::move(server);
    stub_ = v1::Inference::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
  }

  bool WaitUntilServing() { return events_.WaitFor(CoordinatorEvent::Kind::kServing); }

  static v1::GenerateRequest Request(int max_tokens) {
    v1::GenerateRequest request;
    for (const int32_t id : {5, 6, 7}) request.mutable_prompt_tokens()->add_ids(id);
    request.set_max_tokens(max_tokens);
    return request;
  }
  static std::vector<int32_t> Expected(size_t tokens) {
    return ExpectedCompletion({5, 6, 7}, tokens, kVocabulary);
  }

  struct Streamed {
    std::vector<int32_t> tokens;  // of the first choice
    std::string text;
    std::map<uint32_t, std::vector<int32_t>> choices;
    std::map<uint32_t, int> ends;
    std::vector<int32_t> scored;  // prompt tokens
    bool indices_in_order = true;
    v1::GenerateResponse last;
    grpc::Status status;
  };
  Streamed Generate(const v1::GenerateRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    Streamed streamed;
    const auto reader = stub_->Generate(&context, request);
    v1::GenerateResponse chunk;
    while (reader->Read(&chunk)) {
      std::vector<int32_t>& tokens = streamed.choices[chunk.choice()];
      streamed.indices_in_order &= chunk.tokens_size() == 0 || chunk.index() == tokens.size();
      tokens.insert(tokens.end(), chunk.tokens().begin(), chunk.tokens().end());
      if (chunk.choice() == 0) streamed.text += chunk.text();
      if (chunk.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) ++streamed.ends[chunk.choice()];
      for (const auto& score : chunk.prompt_logprobs()) {
        streamed.scored.push_back(score.chosen().token());
      }
      streamed.last = chunk;
    }
    streamed.tokens = streamed.choices[0];
    streamed.status = reader->Finish();
    return streamed;
  }

  EventLog events_;
  LivenessOptions liveness_;
  std::chrono::milliseconds slow_reader_{30'000};
  std::string keys_file_;
  std::string join_token_file_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace trireme
