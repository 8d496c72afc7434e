#include "launcher/audit/audit_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trireme {
namespace {

using testing::HasSubstr;
using testing::Not;

const absl::Time kTime = absl::FromUnixMillis(1'764'054'000'123);

TEST(AuditRecordTest, ALineSaysWhoWhatAndWhen) {
  AuditHead head;
  const std::string line = MakeAuditLine({.what = "request",
                                          .key_id = "k1",
                                          .tenant = "acme",
                                          .prompt_tokens = 3,
                                          .completion_tokens = 0,
                                          .outcome = "OK"},
                                         kTime, head);
  EXPECT_THAT(line,
              testing::StartsWith(
                  R"({"seq":1,"time":"2025-11-25T07:00:00.123Z","event":"request","key":"k1",)"
                  R"("tenant":"acme","prompt_tokens":3,"completion_tokens":0,"outcome":"OK",)"
                  R"("prev":"0000)"));
  EXPECT_EQ(head.seq, 1);
  EXPECT_THAT(line, HasSubstr(head.hash));
}

TEST(AuditRecordTest, LinesFollowEachOther) {
  AuditHead head;
  MakeAuditLine({.what = "first"}, kTime, head);
  const AuditHead first = head;
  const auto link = ReadAuditLine(MakeAuditLine({.what = "second"}, kTime, head));
  ASSERT_TRUE(link.has_value());
  EXPECT_EQ(link->head, head);
  EXPECT_EQ(link->prev, first.hash);
}

TEST(AuditRecordTest, NothingInAnEventMakesAnotherLine) {
  AuditHead head;
  const std::string line = MakeAuditLine(
      {.what = "request", .request_id = "a\n{\"seq\":9}\r\x1b[2J\x7f\"\\ \xff\xc3\xa9 \u2028"},
      kTime, head);
  for (const char c : line) {
    EXPECT_GE(c, ' ');
    EXPECT_LT(c, '\x7f' + 0) << line;
  }
  EXPECT_TRUE(ReadAuditLine(line).has_value());
}

TEST(AuditRecordTest, EveryChangedByteShows) {
  AuditHead head;
  const std::string line = MakeAuditLine({.what = "request", .tenant = "acme"}, kTime, head);
  for (size_t i = 0; i < line.size(); ++i) {
    std::string changed = line;
    changed[i] = changed[i] == 'x' ? 'y' : 'x';
    EXPECT_FALSE(ReadAuditLine(changed).has_value()) << i;
  }
  for (size_t size = 0; size < line.size(); ++size) {
    EXPECT_FALSE(ReadAuditLine(line.substr(0, size)).has_value()) << size;
  }
}

TEST(AuditRecordTest, AHeadReadsAsItWasPrinted) {
  AuditHead head;
  MakeAuditLine({.what = "first"}, kTime, head);
  EXPECT_EQ(PrintHead(head).size(), PrintHead(AuditHead()).size());
  EXPECT_EQ(ParseHead(PrintHead(head)), head);
  for (const char* bad : {"", "1", "-1 00", "x 00", "1 zz"}) EXPECT_FALSE(ParseHead(bad)) << bad;
}

}  // namespace
}  // namespace trireme
