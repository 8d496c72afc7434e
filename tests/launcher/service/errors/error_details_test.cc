#include "launcher/service/errors/error_details.h"

#include <gtest/gtest.h>

#include "launcher/load/refusal.h"
#include "rpc/error_details.pb.h"

namespace trireme {
namespace {

google::rpc::Status Parsed(const absl::Status& error) {
  google::rpc::Status status;
  EXPECT_TRUE(status.ParseFromString(ErrorDetails(error)));
  return status;
}

TEST(ErrorDetails, ABadRequestNamesItsField) {
  const auto status =
      Parsed(absl::InvalidArgumentError("sampling.top_k: expected 0 (off) or more; got -1"));
  ASSERT_EQ(status.details_size(), 2);
  google::rpc::ErrorInfo reason;
  ASSERT_TRUE(status.details(0).UnpackTo(&reason));
  EXPECT_EQ(reason.reason(), "INVALID_ARGUMENT");
  EXPECT_EQ(reason.domain(), "trireme");
  google::rpc::BadRequest bad;
  ASSERT_TRUE(status.details(1).UnpackTo(&bad));
  ASSERT_EQ(bad.field_violations_size(), 1);
  EXPECT_EQ(bad.field_violations(0).field(), "sampling.top_k");
  EXPECT_EQ(bad.field_violations(0).description(), "expected 0 (off) or more; got -1");
}

TEST(ErrorDetails, ARefusalSaysWhyAndWhenToTryAgain) {
  const auto status = Parsed(Refusal(absl::StatusCode::kResourceExhausted, RefusalReason::kFull,
                                     "full", std::chrono::milliseconds(2'500)));
  ASSERT_EQ(status.details_size(), 2);
  google::rpc::ErrorInfo reason;
  ASSERT_TRUE(status.details(0).UnpackTo(&reason));
  EXPECT_EQ(reason.reason(), "FULL");
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(status.details(1).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 3);
}

TEST(FieldAtFault, IsWhatStandsBeforeTheColonIfItIsAName) {
  EXPECT_EQ(FieldAtFault("stop[0]: expected 1 to 256 bytes"), "stop[0]");
  EXPECT_EQ(FieldAtFault("the queue is full: try again"), "");
  EXPECT_EQ(FieldAtFault("no colon"), "");
}

}  // namespace
}  // namespace trireme
