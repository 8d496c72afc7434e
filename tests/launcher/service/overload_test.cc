// What clients meet when more is asked than can be done, and what slow ones cost.
#include "tests/launcher/service/service_fixture.h"

namespace trireme {
namespace {

using std::chrono::milliseconds;

std::string Metadata(const grpc::ClientContext& context, const std::string& key) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find(key);
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

TEST_F(ServiceTest, ARefusalSaysWhyAndWhenToComeAgain) {
  grpc::ClientContext context;
  v1::GenerateResponse response;
  EXPECT_EQ(stub_->GenerateUnary(&context, Request(4), &response).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Metadata(context, "refusal-reason"), "no_group");
  EXPECT_EQ(Metadata(context, "retry-after"), "5");
  grpc::ClientContext streaming;
  const auto reader = stub_->Generate(&streaming, Request(4));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Metadata(streaming, "retry-after"), "5");
}

TEST_F(ServiceTest, WhatIsWrongIsNotRefusedForNow) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  grpc::ClientContext context;
  v1::GenerateResponse response;
  EXPECT_EQ(stub_->GenerateUnary(&context, Request(-1), &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Metadata(context, "retry-after"), "");
}

class SlowReaderTest : public ServiceTest {
 protected:
  SlowReaderTest() { slow_reader_ = milliseconds(200); }
};

TEST_F(SlowReaderTest, AClientThatDoesNotReadIsCutOffAndNobodyWaitsForIt) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  // A window of few bytes: what is not read stays with the server.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto stub = v1::Inference::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  v1::GenerateRequest request = Request(240);
  request.set_n(4);
  const auto reader = stub->Generate(&context, request);
  v1::GenerateResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));
  const Streamed beside = Generate(Request(8));
  EXPECT_TRUE(beside.status.ok()) << beside.status.error_message();
  EXPECT_EQ(beside.tokens, Expected(8));
  // Cut off while it does not read: what it finds then is less than everything.
  const Deadline deadline = Deadline::After(kPatience);
  while (server_->slow_readers_cut_off() == 0 && !deadline.Passed()) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_EQ(server_->slow_readers_cut_off(), 1);
  while (reader->Read(&chunk)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace trireme
