#include "launcher/audit/audit_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <thread>

#include "launcher/audit/audit_verify.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::IsEmpty;

// Files of this process may not grow beyond so many bytes meanwhile: a full disk.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_ = {};
};

class AuditLogTest : public testing::Test {
 protected:
  std::unique_ptr<AuditLog> Open(AuditSync sync = AuditSync::kAlways, size_t max_queue = 100) {
    auto log = AuditLog::Open({.file = path_, .sync = sync, .max_queue = max_queue});
    EXPECT_OK(log);
    return log.ok() ? *std::move(log) : nullptr;
  }
  static absl::Status Now(AuditLog& log, const std::string& what) {
    return log.AddNow({.what = what}, Deadline::AfterMs(10'000));
  }
  AuditReport Verified() const {
    const auto head = ReadHeadFile(HeadPathOf(path_));
    EXPECT_OK(head);
    EXPECT_TRUE(head->has_value());
    const auto report = VerifyAuditLog(path_, {**head});
    EXPECT_OK(report);
    return *report;
  }

  const TempDirectory directory_;
  const std::string path_ = directory_.Path("audit.log");
};

TEST_F(AuditLogTest, WritesWhatItIsGivenAndGoesOnAfterARestart) {
  for (int run = 1; run <= 3; ++run) {
    auto log = Open(AuditSync::kInterval);
    for (int i = 0; i < 20; ++i) log->Add({.what = "request"});
    EXPECT_OK(Now(*log, "admin"));
    for (int i = 0; i < 9; ++i) log->Add({.what = "request"});
    EXPECT_EQ(log->dropped(), 0);
    log.reset();
    EXPECT_EQ(Verified().lines, 30 * run);
    EXPECT_THAT(Verified().findings, IsEmpty());
  }
}

TEST_F(AuditLogTest, ManyMayWriteAtOnce) {
  auto log = Open(AuditSync::kNever, 100'000);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int k = 0; k < 500; ++k) log->Add({.what = "request"});
        EXPECT_OK(Now(*log, "admin"));
      });
    }
  }
  log.reset();
  EXPECT_EQ(Verified().lines, 2004);
  EXPECT_THAT(Verified().findings, IsEmpty());
}

TEST_F(AuditLogTest, IsNobodyElsesToRead) {
  Open();
  EXPECT_EQ(std::filesystem::status(path_).permissions() & std::filesystem::perms::all,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(AuditLogTest, AFullDiskRefusesWhatMustBeRecordedAndCountsTheRest) {
  auto log = Open();
  ASSERT_OK(Now(*log, "before"));
  {
    const FullDisk full(std::filesystem::file_size(path_) + 40);
    EXPECT_THAT(Now(*log, "admin"), StatusIs(StatusCode::kUnavailable, testing::_));
    EXPECT_FALSE(log->health().ok());
    for (int i = 0; i < 5; ++i) log->Add({.what = "request"});
    EXPECT_THAT(Now(*log, "admin"), StatusIs(StatusCode::kUnavailable, testing::_));
    EXPECT_EQ(log->dropped(), 5);
    EXPECT_THAT(Verified().findings, IsEmpty()) << "half a line was left";
  }
  EXPECT_OK(Now(*log, "after"));
  EXPECT_OK(log->health());
  log.reset();
  EXPECT_EQ(Verified().lines, 3);
  EXPECT_THAT(Verified().findings, IsEmpty());
  EXPECT_THAT(ReadWholeFile(path_), HasSubstr("5 events before this one"));
}

TEST_F(AuditLogTest, CutsOffALineThatItsWriterCouldNotFinish) {
  auto log = Open();
  ASSERT_OK(Now(*log, "first"));
  log.reset();
  const std::string whole = ReadWholeFile(path_);
  directory_.Write("audit.log", whole + R"({"seq":2,"ti)");
  log = Open();
  ASSERT_OK(Now(*log, "next"));
  log.reset();
  EXPECT_EQ(Verified().lines, 3);
  EXPECT_THAT(Verified().findings, IsEmpty());
  EXPECT_THAT(ReadWholeFile(path_), HasSubstr("12 bytes of an unfinished line"));
}

TEST_F(AuditLogTest, DoesNotGoOnAfterLinesThatAreMissing) {
  auto log = Open();
  ASSERT_OK(Now(*log, "first"));
  const std::string first = ReadWholeFile(path_);
  ASSERT_OK(Now(*log, "second"));
  log.reset();
  directory_.Write("audit.log", first);
  EXPECT_THAT(AuditLog::Open({.file = path_}), StatusIs(StatusCode::kDataLoss, testing::_));
  directory_.Write("audit.log", "what is this\n");
  EXPECT_THAT(AuditLog::Open({.file = path_}), StatusIs(StatusCode::kDataLoss, testing::_));
}

TEST_F(AuditLogTest, HasOneWriter) {
  const auto log = Open();
  EXPECT_THAT(AuditLog::Open({.file = path_}), StatusIs(StatusCode::kFailedPrecondition, testing::_));
}

TEST_F(AuditLogTest, AFileThatCannotBeOpenedIsAnError) {
  EXPECT_THAT(AuditLog::Open({.file = directory_.Path("no/such/folder")}),
              StatusIs(StatusCode::kUnavailable, testing::_));
}

}  // namespace
}  // namespace trireme
