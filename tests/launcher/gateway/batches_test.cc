#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "launcher/gateway/batches/batch_runner.h"
#include "launcher/gateway/batches/batch_store.h"
#include "launcher/gateway/batches/multipart.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::HasSubstr;
using Kind = BatchStore::Kind;

TEST(MultipartTest, FindsFieldsAndFiles) {
  const std::string body =
      "--b1\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
      "--b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n"
      "Content-Type: application/octet-stream\r\n\r\n{\"a\":1}\r\n--b\r\n--b1--\r\n";
  const auto parts = ParseForm("multipart/form-data; boundary=b1", body);
  ASSERT_OK(parts);
  ASSERT_EQ(parts->size(), 2u);
  EXPECT_EQ((*parts)[0].name, "purpose");
  EXPECT_EQ((*parts)[0].content, "batch");
  EXPECT_EQ((*parts)[1].filename, "a.jsonl");
  EXPECT_EQ((*parts)[1].content, "{\"a\":1}\r\n--b");
}

TEST(MultipartTest, RefusesWhatIsNone) {
  for (const char* body :
       {"", "--b1", "--b1\r\n", "--b1\r\n\r\n--b1--", "--b1\r\nX: y\r\n\r\nz\r\n--b1--",
        "--b2\r\n\r\n\r\n--b2--", "--b1x\r\n"}) {
    EXPECT_THAT(ParseForm("multipart/form-data; boundary=b1", body),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multipart")))
        << body;
  }
  EXPECT_FALSE(ParseForm("application/json", "{}").ok());
  EXPECT_FALSE(ParseForm("multipart/form-data", "--\r\n").ok());
  std::string many;
  for (int i = 0; i < 17; ++i) many += "--b\r\nContent-Disposition: form-data; name=x\r\n\r\ny\r\n";
  EXPECT_FALSE(ParseForm("multipart/form-data; boundary=b", many + "--b--").ok());
}

class BatchesTest : public testing::Test {
 protected:
  void SetUp() override { OpenStore(); }
  void OpenStore() {
    runner_.reset();
    store_.reset();
    auto store = BatchStore::Open(folder_.path() + "/batches", 10'000);
    ASSERT_OK(store);
    store_ = *std::move(store);
  }
  std::string AddFile(const std::string& content, const std::string& tenant = "t") {
    const auto file = store_->AddFile(tenant, "in.jsonl", "batch", content);
    EXPECT_OK(file);
    return file.ok() ? (*file)["id"].get<std::string>() : "";
  }
  void StartRunner(BatchRunner::Answer answer) {
    runner_ = std::make_unique<BatchRunner>(*store_, std::move(answer));
  }
  Json WaitForEnd(const std::string& id) {
    const Deadline deadline = Deadline::AfterMs(20'000);
    while (!deadline.Passed()) {
      Json batch = *store_->Find(Kind::kBatch, "t", id);
      if (batch["status"] == "completed" || batch["status"] == "cancelled") return batch;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return {};
  }
  static std::string Line(const std::string& id, const std::string& body = "{\"prompt\":\"a\"}") {
    return R"({"custom_id":")" + id + R"(","method":"POST","url":"/v1/completions","body":)" +
           body + "}\n";
  }

  TempDirectory folder_;
  std::unique_ptr<BatchStore> store_;
  std::unique_ptr<BatchRunner> runner_;
};

TEST_F(BatchesTest, FilesAreTheirTenantsAndOutliveTheProgram) {
  const std::string id = AddFile("content");
  EXPECT_EQ(*store_->Content("t", id), "content");
  EXPECT_THAT(store_->Content("other", id), StatusIs(absl::StatusCode::kNotFound, HasSubstr("id")));
  EXPECT_TRUE(store_->List(Kind::kFile, "other").empty());
  EXPECT_FALSE(store_->DeleteFile("other", id).ok());
  EXPECT_FALSE(store_->Content("t", "../" + id).ok());
  OpenStore();
  EXPECT_EQ(*store_->Content("t", id), "content");
  EXPECT_OK(store_->DeleteFile("t", id));
  EXPECT_FALSE(store_->Content("t", id).ok());
  OpenStore();
  EXPECT_TRUE(store_->List(Kind::kFile, "t").empty());
}

TEST_F(BatchesTest, TheStoreIsBounded) {
  const std::string id = AddFile(std::string(9'000, 'x'));
  EXPECT_THAT(store_->AddFile("t", "f", "batch", std::string(1'001, 'x')),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("delete")));
  EXPECT_OK(store_->DeleteFile("t", id));
  AddFile(std::string(10'000, 'x'));
}

TEST_F(BatchesTest, LinesAreAnsweredInTheirOrder) {
  std::atomic<int> refused = 0;
  StartRunner([&](const std::string& path, const std::string& tenant, std::shared_ptr<Exchange> e) {
    EXPECT_EQ(path, "/v1/completions");
    EXPECT_EQ(tenant, "t");
    if (e->request().body.find("busy") != std::string::npos && refused++ == 0) {
      return e->Reply(Refusal(503, "unavailable", "later"));
    }
    if (e->request().body.find("bad") != std::string::npos) {
      return e->Reply(Refusal(400, "invalid_value", "bad"));
    }
    e->Reply({.body = R"({"id":"x","echo":)" + e->request().body + "}"});
  });
  const std::string file = AddFile(Line("a") + "\n" + Line("b", "{\"prompt\":\"busy\"}") +
                                   Line("c", "{\"prompt\":\"bad\"}"));
  const auto batch = runner_->Begin("t", file, "/v1/completions", nullptr);
  ASSERT_OK(batch);
  EXPECT_EQ((*batch)["object"], "batch");
  const Json ended = WaitForEnd((*batch)["id"]);
  EXPECT_EQ(ended["request_counts"]["completed"], 2);
  EXPECT_EQ(ended["request_counts"]["failed"], 1);
  const std::string output = *store_->Content("t", ended["output_file_id"]);
  EXPECT_LT(output.find("\"custom_id\":\"a\""), output.find("\"custom_id\":\"b\""));
  EXPECT_THAT(*store_->Content("t", ended["error_file_id"]), HasSubstr("\"status_code\":400"));
}

TEST_F(BatchesTest, InputIsCheckedAtOnce) {
  StartRunner([](const std::string&, const std::string&, std::shared_ptr<Exchange> exchange) {
    exchange->Reply({.body = "{}"});
  });
  for (const std::string& content :
       {std::string(), std::string("\n"), std::string("{"), std::string("{}"),
        Line("a") + Line("a"), Line(""), Line("a", "[]"), Line("a", "{\"stream\":true}"),
        std::string(R"({"custom_id":"a","method":"GET","url":"/v1/completions","body":{}})"),
        std::string(R"({"custom_id":"a","method":"POST","url":"/v1/models","body":{}})")}) {
    EXPECT_THAT(runner_->Begin("t", AddFile(content), "/v1/completions", nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("input_file")))
        << content;
  }
  EXPECT_FALSE(runner_->Begin("t", AddFile(Line("a")), "/v1/embeddings", nullptr).ok());
  EXPECT_FALSE(runner_->Begin("other", AddFile(Line("a")), "/v1/completions", nullptr).ok());
}

TEST_F(BatchesTest, ACancelledBatchEndsAndAnInterruptedOneBeginsAgain) {
  std::atomic<int> gone = 0, begun = 0;
  const auto never = [&](const std::string&, const std::string&, std::shared_ptr<Exchange> e) {
    ++begun;
    e->Produce({.pump = [] {}, .gone = [&] { ++gone; }});
  };
  StartRunner(never);
  const std::string file = AddFile(Line("a"));
  const auto batch = runner_->Begin("t", file, "/v1/completions", nullptr);
  ASSERT_OK(batch);
  while (begun == 0) std::this_thread::yield();
  EXPECT_FALSE(runner_->Cancel("other", (*batch)["id"]).ok());
  EXPECT_OK(runner_->Cancel("t", (*batch)["id"]));
  EXPECT_EQ(WaitForEnd((*batch)["id"])["status"], "cancelled");
  EXPECT_EQ(gone, 1);

  const auto again = runner_->Begin("t", file, "/v1/completions", nullptr);
  ASSERT_OK(again);
  while (begun == 1) std::this_thread::yield();
  OpenStore();
  EXPECT_EQ(gone, 2);
  StartRunner([](const std::string&, const std::string&, std::shared_ptr<Exchange> exchange) {
    exchange->Reply({.body = "{}"});
  });
  EXPECT_EQ(WaitForEnd((*again)["id"])["status"], "completed");
}

}  // namespace
}  // namespace trireme
