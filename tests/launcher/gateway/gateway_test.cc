// HTTP → gateway → coordinator → engine and back, in one process. The executor answers with hashes
// of what came before, so that a token lost anywhere shows in the text.
#include "launcher/gateway/gateway.h"

#include <nlohmann/json.hpp>
#include <set>

#include "launcher/gateway/routes.h"
#include "tests/launcher/gateway/raw_client.h"
#include "tests/launcher/service/service_fixture.h"

namespace trireme {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class GatewayTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    StartGateway({});
  }
  // As the program does it: requests end, gRPC ends, then HTTP.
  void TearDown() override {
    group_.reset();
    server_->Stop(Deadline::AfterMs(0)).IgnoreError();
    gateway_.reset();
  }

  void StartGateway(GatewayOptions options) {
    gateway_.reset();
    options.http.listen = "127.0.0.1:0";
    auto gateway = Gateway::Start(std::move(options), server_->parts());
    ASSERT_OK(gateway);
    gateway_ = *std::move(gateway);
  }
  void StartGroup(PrefixExecutor::BeforeStep before_step = [](uint64_t) {
    return absl::OkStatus();
  }) {
    group_ = std::make_unique<TestGroup>(server_->address(), "a", std::move(before_step));
    ASSERT_TRUE(WaitUntilServing());
  }

  RawResponse Ask(const std::string& request) {
    return RawClient(gateway_->address()).Ask(request);
  }
  json AskFor(const std::string& path, const json& body) {
    const RawResponse response = Ask(Post(path, body.dump()));
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body, nullptr, false);
  }
  // The events of a stream, without the last, which is [DONE].
  std::vector<json> Stream(const std::string& path, json body) {
    body["stream"] = true;
    const RawResponse response = Ask(Post(path, body.dump()));
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.headers.at("content-type"), "text/event-stream; charset=utf-8");
    std::vector<json> events;
    std::string_view rest = response.body;
    bool done = false;
    while (!rest.empty()) {
      const size_t end = rest.find("\n\n");
      const std::string_view event = rest.substr(0, end);
      rest.remove_prefix(end + 2);
      EXPECT_TRUE(event.starts_with("data: ")) << event;
      done = event == "data: [DONE]";
      if (!done) events.push_back(json::parse(event.substr(6), nullptr, false));
    }
    EXPECT_TRUE(done) << response.body;
    return events;
  }
  std::string TextOf(size_t tokens) { return Tokens().Decode(Expected(tokens)); }
  const Tokenizer& Tokens() { return *server_->parts().tokenizer; }

  static json Completion(int max_tokens) {
    return {{"prompt", {5, 6, 7}}, {"max_tokens", max_tokens}, {"temperature", 0}};
  }
  static json Chat(const std::string& text) {
    return {{"messages", {{{"role", "user"}, {"content", text}}}},
            {"temperature", 0},
            {"max_tokens", 12}};
  }

  std::unique_ptr<TestGroup> group_;
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(GatewayTest, ReadinessFollowsTheGroups) {
  EXPECT_EQ(Ask(Get("/healthz")).status, 200);
  EXPECT_EQ(Ask(Get("/readyz")).status, 503);
  EXPECT_EQ(Ask(Get("/v1/models")).status, 503);
  const RawResponse early = Ask(Post("/v1/completions", Completion(4).dump()));
  EXPECT_EQ(early.status, 503);
  EXPECT_TRUE(early.headers.contains("retry-after"));
  EXPECT_THAT(early.body, HasSubstr("no_group"));
  StartGroup();
  EXPECT_EQ(Ask(Get("/readyz")).status, 200);
  const json models = json::parse(Ask(Get("/v1/models")).body);
  EXPECT_EQ(models["data"][0]["object"], "model");
  const std::string name = models["data"][0]["id"];
  EXPECT_EQ(Ask(Get("/v1/models/" + name)).status, 200);
  EXPECT_EQ(Ask(Get("/v1/models/other")).status, 404);
}

TEST_F(GatewayTest, CompletesAndStreamsTheSameText) {
  StartGroup();
  const json whole = AskFor("/v1/completions", Completion(40));
  EXPECT_EQ(whole["object"], "text_completion");
  EXPECT_EQ(whole["choices"][0]["text"], TextOf(40));
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(whole["usage"],
            json({{"prompt_tokens", 3}, {"completion_tokens", 40}, {"total_tokens", 43}}));

  json asked = Completion(40);
  asked["stream_options"] = {{"include_usage", true}};
  const std::vector<json> events = Stream("/v1/completions", asked);
  std::string text;
  std::set<std::string> ids;
  for (const json& event : events) {
    ids.insert(event["id"]);
    EXPECT_EQ(event["object"], "text_completion");
    if (!event["choices"].empty()) text += event["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(text, TextOf(40));
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_TRUE(events.back()["choices"].empty());
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 40);
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "length");
}

TEST_F(GatewayTest, PromptsAndChoicesAreCountedOn) {
  StartGroup();
  json asked = Completion(6);
  asked["prompt"] = {{5, 6, 7}, {8, 9}};
  asked["n"] = 2;
  const json whole = AskFor("/v1/completions", asked);
  ASSERT_EQ(whole["choices"].size(), 4u);
  const std::string other = Tokens().Decode(ExpectedCompletion({8, 9}, 6, kVocabulary));
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(whole["choices"][i]["index"], i);
    EXPECT_EQ(whole["choices"][i]["text"], i < 2 ? TextOf(6) : other);
  }
  EXPECT_EQ(whole["usage"]["prompt_tokens"], 5);
  EXPECT_EQ(whole["usage"]["completion_tokens"], 24);
  std::string texts[4];
  for (const json& event : Stream("/v1/completions", asked)) {
    const json& choice = event["choices"][0];
    texts[choice["index"].get<size_t>()] += choice["text"].get<std::string>();
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(texts[i], whole["choices"][i]["text"]);
}

TEST_F(GatewayTest, EchoScoresThePromptAsEvaluationHarnessesReadIt) {
  StartGroup();
  json asked = Completion(1);
  asked["echo"] = true;
  asked["logprobs"] = 2;
  for (const int max_tokens : {1, 0}) {
    asked["max_tokens"] = max_tokens;
    const json choice = AskFor("/v1/completions", asked)["choices"][0];
    const size_t tokens = 3 + static_cast<size_t>(max_tokens);
    const json& logprobs = choice["logprobs"];
    for (const char* list : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) {
      EXPECT_EQ(logprobs[list].size(), tokens) << list;
    }
    EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
    EXPECT_TRUE(logprobs["token_logprobs"][1].is_number());
    EXPECT_FALSE(logprobs["top_logprobs"][2].empty());
    EXPECT_EQ(logprobs["tokens"][0], Tokens().Decode(std::vector<int32_t>{5}));
    EXPECT_EQ(choice["text"],
              Tokens().Decode(std::vector<int32_t>{5, 6, 7}) + (max_tokens == 1 ? TextOf(1) : ""));
  }
}

TEST_F(GatewayTest, ChatBeginsWithARoleAndEndsWithAReason) {
  StartGroup();
  const json whole = AskFor("/v1/chat/completions", Chat("Hello"));
  EXPECT_EQ(whole["object"], "chat.completion");
  EXPECT_EQ(whole["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "length");
  json asked = Chat("Hello");
  asked["logprobs"] = true;
  asked["top_logprobs"] = 2;
  asked["stream_options"] = {{"continuous_usage_stats", true}};
  const std::vector<json> events = Stream("/v1/chat/completions", asked);
  EXPECT_EQ(events[0]["choices"][0]["delta"], json({{"role", "assistant"}, {"content", ""}}));
  std::string text;
  size_t scored = 0;
  for (const json& event : events) {
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    EXPECT_TRUE(event["usage"].is_object());
    const json& choice = event["choices"][0];
    text += choice["delta"].value("content", "");
    if (choice["logprobs"].is_object()) {
      for (const json& one : choice["logprobs"]["content"]) {
        EXPECT_EQ(one["top_logprobs"].size(), 2u);
        ++scored;
      }
    }
  }
  EXPECT_EQ(text, whole["choices"][0]["message"]["content"]);
  EXPECT_EQ(scored, 12u);
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "length");
}

TEST_F(GatewayTest, TokensThereAndBack) {
  const json tokens = AskFor("/tokenize", {{"prompt", "Hello, world"}});
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  EXPECT_EQ(AskFor("/detokenize", {{"tokens", tokens["tokens"]}})["prompt"], "Hello, world");
  EXPECT_EQ(Ask(Post("/detokenize", R"({"tokens":[49152]})")).status, 400);
}

TEST_F(GatewayTest, EveryRouteAsksForAuthorisationButProbes) {
  StartGateway(
      {.http = {}, .authorise = [](const HttpRequest& head, Scope) -> absl::StatusOr<Caller> {
         if (head.Header("authorization") != nullptr) return Caller{.tenant = "t"};
         return absl::UnauthenticatedError("a key is needed");
       }});
  for (const Route& route : Routes()) {
    std::string path(route.path);
    if (const size_t at = path.find("{id}"); at != std::string::npos) path.replace(at, 4, "x");
    const RawResponse response = Ask(absl::StrFormat(
        "%s %s HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", route.method, path));
    if (route.scope == Scope::kOpen) {
      EXPECT_NE(response.status, 401) << path;
      continue;
    }
    EXPECT_EQ(response.status, 401) << path;
    EXPECT_THAT(response.body, HasSubstr("invalid_api_key"));
  }
}

TEST_F(GatewayTest, PathsAndMethodsThatAreNone) {
  for (const char* path : {"/", "/v1", "/v1/models/", "/v1/models/a/b", "/V1/models",
                           "/v1/models%2f", "/../etc/passwd", "/v1/chat/completions/"}) {
    EXPECT_EQ(Ask(Get(path)).status, 404) << path;
  }
  const RawResponse wrong = Ask(Get("/v1/completions"));
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST");
  EXPECT_EQ(Ask("HEAD /v1/models HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").status, 405);
}

TEST_F(GatewayTest, AClientThatLeavesFreesTheEngine) {
  StartGroup([](uint64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the pace of a model, not a wait
    return absl::OkStatus();
  });
  const Deadline deadline = Deadline::After(kPatience);
  for (const bool stream : {true, false}) {
    RawClient client(gateway_->address());
    json asked = Completion(250);
    asked["stream"] = stream;
    client.Send(Post("/v1/completions", asked.dump()));
    while (group_->engine().status().running == 0 && !deadline.Passed()) std::this_thread::yield();
    if (stream) {
      ASSERT_TRUE(client.ReadUntil("data: "));
    }
    client.Close();
    while (group_->engine().status().running > 0 && !deadline.Passed()) std::this_thread::yield();
    EXPECT_EQ(group_->engine().status().running, 0);
    EXPECT_EQ(group_->engine().status().free_pages, kPages);
  }
  EXPECT_LT(group_->engine().status().steps, 450u);
}

TEST_F(GatewayTest, AnErrorBeforeTheFirstTokenIsNoStream) {
  StartGroup();
  json asked = Completion(8);
  asked["stream"] = true;
  asked["n"] = kEngine.max_sequences + kEngine.max_waiting + 1;
  const RawResponse refused = Ask(Post("/v1/completions", asked.dump()));
  EXPECT_EQ(refused.status, 429);
  EXPECT_THAT(refused.body, HasSubstr("\"type\":\"rate_limit_error\""));
}

TEST_F(GatewayTest, AStreamThatFailsSaysSoAndHasNoOtherEnd) {
  StartGroup([](uint64_t step) {
    if (step < 20) return absl::OkStatus();
    return absl::DeadlineExceededError("rank 1 is late");
  });
  RawClient client(gateway_->address());
  json asked = Completion(100);
  asked["stream"] = true;
  client.Send(Post("/v1/completions", asked.dump()));
  ASSERT_TRUE(client.ReadUntil("data: "));
  std::jthread stopper([&] { server_->Stop(Deadline::AfterMs(0)).IgnoreError(); });
  const RawResponse response = client.Read();
  EXPECT_TRUE(response.whole);
  EXPECT_THAT(response.body, HasSubstr("data: {\"error\":{"));
  EXPECT_THAT(response.body, Not(HasSubstr("[DONE]")));
}

TEST_F(GatewayTest, MetricsAreWhatTheHookSays) {
  EXPECT_EQ(Ask(Get("/metrics")).status, 501);
  StartGateway({.http = {}, .metrics = [] { return "up 1\n"; }});
  EXPECT_EQ(Ask(Get("/metrics")).body, "up 1\n");
}

}  // namespace
}  // namespace trireme
