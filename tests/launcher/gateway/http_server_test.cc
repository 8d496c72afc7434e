// The server by itself: what it lets in, what it refuses, what a peer may do to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "launcher/gateway/http/server.h"
#include "tests/launcher/gateway/raw_client.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Answers with what it was asked. /late is answered by the test, /refused by nobody.
class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override { StartServer({.listen = "127.0.0.1:0"}); }

  void StartServer(HttpServerOptions options) {
    server_.reset();
    auto server = HttpServer::Start(
        std::move(options),
        [this](const HttpRequest& head) -> std::variant<HttpTaker, HttpResponse> {
          if (head.path == "/refused") return Refusal(401, "no", "not you");
          return HttpTaker{.function = [this](std::shared_ptr<Exchange> e) { Take(std::move(e)); },
                           .max_body_bytes = 1'000};
        });
    ASSERT_OK(server);
    server_ = *std::move(server);
  }

  void Take(std::shared_ptr<Exchange> exchange) {
    if (exchange->request().path == "/late") {
      const std::lock_guard lock(mutex_);
      late_ = exchange;
      exchange->Produce({.pump = [this] { Count(pumps_); },
                         .gone = [this] { Count(gone_); },
                         .head = {.content_type = "text/plain"},
                         .idle_text = idle_text_,
                         .idle_after = std::chrono::milliseconds(20)});
      changed_.notify_all();
      return;
    }
    exchange->Reply({.content_type = "text/plain",
                     .body = exchange->request().method + " " + exchange->request().path + "?" +
                             exchange->request().query + " " + exchange->request().body});
  }
  void Count(int& counter) {
    const std::lock_guard lock(mutex_);
    ++counter;
    changed_.notify_all();
  }
  bool WaitFor(const std::function<bool()>& true_now) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), true_now);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Exchange> late_;
  int pumps_ = 0, gone_ = 0;
  std::string idle_text_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersOverOneConnectionInOrder) {
  RawClient client(server_->address());
  EXPECT_EQ(client.Ask(Get("/a?x=1")).body, "GET /a?x=1 ");
  EXPECT_EQ(client.Ask(Post("/b", "body")).body, "POST /b? body");
  // Sent ahead, in pieces that end anywhere.
  const std::string ahead = Get("/1") + Post("/2", "two") + Get("/3") + Get("/refused") + Get("/4");
  for (size_t at = 0; at < ahead.size(); at += 7) client.Send(ahead.substr(at, 7));
  for (const char* body : {"GET /1? ", "POST /2? two", "GET /3? "}) {
    EXPECT_EQ(client.Read().body, body);
  }
  EXPECT_EQ(client.Read().status, 401);
  EXPECT_EQ(client.Read().body, "GET /4? ");
}

TEST_F(HttpServerTest, JoinsChunksAndRefusesTooManyOrTooLarge) {
  RawClient client(server_->address());
  const std::string head = "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(client.Ask(head + "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n").body, "POST /c? abcde");
  EXPECT_EQ(client.Ask(Get("/next")).body, "GET /next? ");
  EXPECT_EQ(client.Ask(head + "3E9\r\n" + std::string(1'001, 'x') + "\r\n0\r\n\r\n").status, 413);
  EXPECT_TRUE(client.Ended());

  RawClient many(server_->address());
  many.Send(head);
  std::string chunks;
  for (int i = 0; i < 9'000; ++i) chunks += "0001;e\r\nx\r\n";  // more than the body may have, too
  EXPECT_THAT(many.Ask(chunks).status, testing::AnyOf(400, 413));
}

TEST_F(HttpServerTest, HoldsItsLimits) {
  RawClient at(server_->address());
  EXPECT_EQ(at.Ask(Post("/b", std::string(1'000, 'x'))).status, 200);
  RawClient body(server_->address());
  EXPECT_EQ(body.Ask(Post("/b", std::string(1'001, 'x'))).status, 413);
  RawClient announced(server_->address());
  EXPECT_EQ(
      announced.Ask("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n").status,
      413);
  RawClient header(server_->address());
  EXPECT_EQ(
      header.Ask("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(17'000, 'x') + "\r\n\r\n").status,
      431);
  RawClient fields(server_->address());
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 100; ++i) many += absl::StrFormat("a%d: b\r\n", i);
  EXPECT_EQ(fields.Ask(many + "\r\n").status, 431);
}

TEST_F(HttpServerTest, RefusesWhatCouldBeReadInTwoWays) {
  const std::string chunks = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
  for (const std::string& fields : {
           std::string("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
           std::string("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
           std::string("Content-Length: 4\r\nContent-Length: 5\r\n"),
           std::string("Content-Length: +4\r\n"),
           std::string("Content-Length: 4, 4\r\n"),
           std::string("Content-Length: -1\r\n"),
           std::string("Content-Length: 99999999999999999999\r\n"),
           std::string("Content-Length : 4\r\n"),
           std::string("Transfer-Encoding: xchunked\r\n"),
           std::string("Transfer-Encoding: gzip\r\n"),
           std::string("Transfer-Encoding: chunked, identity\r\n"),
           std::string("Transfer-Encoding: gzip, chunked\r\n"),
           std::string("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
           std::string("Transfer-Encoding:\x0b"
                       "chunked\r\n"),
           std::string("Host: other\r\n"),
           std::string("X: a\x01b\r\n"),
           std::string("X Y: a\r\n"),
       }) {
    RawClient client(server_->address());
    client.Send("POST /b HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + chunks);
    const RawResponse response = client.Read();
    EXPECT_THAT(response.status, testing::AnyOf(400, 413)) << fields;
    EXPECT_THAT(response.body, StartsWith("{\"error\":{")) << fields;
    EXPECT_TRUE(client.Ended()) << fields;
    EXPECT_THAT(client.buffer, Not(HasSubstr("smuggled"))) << fields;
  }
  for (const char* line :
       {"GET / HTTP/1.1\r\n\r\n", "GET http:// HTTP/3.0\r\nHost: h\r\n\r\n", "GET\r\n\r\n",
        "\x16\x03\x01\x02", "GET / HTTP/1.1\nHost: h\n\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: h\r\n\r\n"}) {
    RawClient client(server_->address());
    client.Send(line);
    client.HalfClose();
    EXPECT_THAT(client.Read().status, testing::AnyOf(400, 505)) << line;
    EXPECT_TRUE(client.Ended()) << line;
  }
}

TEST_F(HttpServerTest, ARefusalByTheHeadDoesNotWaitForTheBody) {
  RawClient client(server_->address());
  client.Send("POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
  EXPECT_EQ(client.Read().status, 401);
  client.Send(std::string(1'000, 'x'));  // what was on its way does not cut the reply off
  EXPECT_TRUE(client.Ended());
}

TEST_F(HttpServerTest, ExpectIsAnswered) {
  RawClient client(server_->address());
  client.Send("POST /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  ASSERT_TRUE(client.ReadUntil("100 Continue"));
  client.Send("hi");
  EXPECT_EQ(client.Read().body, "POST /b? hi");
}

TEST_F(HttpServerTest, AnOldClientsConnectionEndsWithTheReply) {
  RawClient client(server_->address());
  EXPECT_EQ(client.Ask("GET /a HTTP/1.0\r\n\r\n").body, "GET /a? ");
  EXPECT_TRUE(client.Ended());
  RawClient asked(server_->address());
  EXPECT_EQ(asked.Ask("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").body, "GET /a? ");
  EXPECT_TRUE(asked.Ended());
}

TEST_F(HttpServerTest, AReplyInPartsIsPumpedAndEnds) {
  RawClient client(server_->address());
  client.Send(Get("/late") + Get("/after"));
  ASSERT_TRUE(WaitFor([&] { return pumps_ == 1; }));
  late_->Wake();
  ASSERT_TRUE(WaitFor([&] { return pumps_ == 2; }));
  late_->Reply({.content_type = "text/plain", .body = "whole"});
  EXPECT_EQ(client.Read().body, "whole");
  EXPECT_EQ(client.Read().body, "GET /after? ");
  EXPECT_EQ(gone_, 0);
}

TEST_F(HttpServerTest, SilenceIsFilledWithComments) {
  idle_text_ = ": alive\n\n";
  RawClient client(server_->address());
  client.Send(Get("/late"));
  EXPECT_TRUE(client.ReadUntil(": alive\n\n\r\n9\r\n: alive"));
  EXPECT_THAT(client.buffer, HasSubstr("Transfer-Encoding: chunked"));
}

TEST_F(HttpServerTest, AClientThatLeavesIsNoticedWhereverItIs) {
  for (int i = 1; i <= 3; ++i) {
    RawClient client(server_->address());
    client.Send(Get("/late") + (i == 3 ? Get("/ahead") : ""));
    ASSERT_TRUE(WaitFor([&] { return pumps_ == i; }));
    i == 1 ? client.Reset() : i == 2 ? client.Close() : client.HalfClose();
    EXPECT_TRUE(WaitFor([&] { return gone_ == i; })) << i;
    if (i != 3) continue;
    // Who only shut its own side down is told.
    EXPECT_EQ(client.Read().status, 400);
    EXPECT_TRUE(client.Ended());
  }
}

TEST_F(HttpServerTest, AQuestionWithoutAProducerIsAnsweredToAHalfClosedSocket) {
  RawClient client(server_->address());
  client.Send(Get("/a"));
  client.HalfClose();
  EXPECT_EQ(client.Read().body, "GET /a? ");
  RawClient cut(server_->address());
  cut.Send("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nonly this");
  cut.HalfClose();
  const RawResponse response = cut.Read();
  EXPECT_EQ(response.status, 400);
  EXPECT_THAT(response.body, HasSubstr("incomplete_request"));
}

TEST_F(HttpServerTest, MoreConnectionsThanItTakesAreToldSo) {
  StartServer({.listen = "127.0.0.1:0", .max_connections = 2});
  RawClient first(server_->address()), second(server_->address());
  EXPECT_EQ(first.Ask(Get("/a")).status, 200);
  EXPECT_EQ(second.Ask(Get("/a")).status, 200);
  RawClient third(server_->address());
  const RawResponse refused = third.Read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(first.Ask(Get("/a")).status, 200);
}

TEST_F(HttpServerTest, ATakenPortAndABadAddressAreRefused) {
  const HttpDoor door = [](const HttpRequest&) { return Refusal(404, "no", "no"); };
  EXPECT_THAT(HttpServer::Start({.listen = server_->address()}, door),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("another port")));
  for (const char* listen : {"", "8000", ":8000", "127.0.0.1:", "256.1.1.1:x"}) {
    EXPECT_THAT(HttpServer::Start({.listen = listen}, door),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("http:")))
        << listen;
  }
}

TEST_F(HttpServerTest, EndsWithRequestsUnderWay) {
  RawClient client(server_->address());
  client.Send(Get("/late"));
  ASSERT_TRUE(WaitFor([&] { return pumps_ == 1; }));
  late_.reset();
  server_.reset();
  EXPECT_EQ(gone_, 1);
  EXPECT_TRUE(client.Ended());
}

}  // namespace
}  // namespace trireme
