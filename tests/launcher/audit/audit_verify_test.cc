#include "launcher/audit/audit_verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class AuditVerifyTest : public testing::Test {
 protected:
  AuditVerifyTest() {
    for (int i = 0; i < 6; ++i) {
      lines_.push_back(
          MakeAuditLine({.what = "request", .tenant = absl::StrCat("t", i)}, absl::Now(), head_));
    }
  }

  std::vector<AuditFinding> Findings(const std::vector<std::string>& lines) {
    const std::string path = directory_.Write("audit.log", absl::StrJoin(lines, "\n") + "\n");
    const auto report = VerifyAuditLog(path, {head_});
    EXPECT_OK(report);
    return report->findings;
  }

  const TempDirectory directory_;
  std::vector<std::string> lines_;
  AuditHead head_;
};

TEST_F(AuditVerifyTest, AnUntouchedLogIsWhole) {
  EXPECT_THAT(Findings(lines_), IsEmpty());
  const auto report = VerifyAuditLog(directory_.Path("audit.log"), {});
  EXPECT_EQ(report->lines, 6);
  EXPECT_EQ(report->head, head_);
}

TEST_F(AuditVerifyTest, FindsAnEdit) {
  std::vector<std::string> lines = lines_;
  lines[2].replace(lines[2].find("\"t2\""), 4, "\"t9\"");
  const auto findings = Findings(lines);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].line, 3);
}

TEST_F(AuditVerifyTest, FindsAnEditWhoseHashWasMadeAnew) {
  AuditHead head;
  std::vector<std::string> lines = lines_;
  for (int i = 0; i < 3; ++i) {
    lines[static_cast<size_t>(i)] = MakeAuditLine({.what = "another"}, absl::Now(), head);
  }
  const auto findings = Findings(lines);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].line, 4);
}

TEST_F(AuditVerifyTest, FindsADeletion) {
  for (size_t i = 0; i < lines_.size(); ++i) {
    std::vector<std::string> lines = lines_;
    lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_THAT(Findings(lines), SizeIs(1)) << i;
  }
}

TEST_F(AuditVerifyTest, FindsAReorder) {
  for (size_t i = 0; i + 1 < lines_.size(); ++i) {
    std::vector<std::string> lines = lines_;
    std::swap(lines[i], lines[i + 1]);
    EXPECT_FALSE(Findings(lines).empty()) << i;
  }
}

TEST_F(AuditVerifyTest, FindsARepeatedLine) {
  std::vector<std::string> lines = lines_;
  lines.insert(lines.begin() + 2, lines[1]);
  EXPECT_FALSE(Findings(lines).empty());
}

TEST_F(AuditVerifyTest, FindsWhatWasCutOffAtTheEnd) {
  for (size_t kept = 0; kept < lines_.size(); ++kept) {
    const auto findings =
        Findings({lines_.begin(), lines_.begin() + static_cast<std::ptrdiff_t>(kept)});
    ASSERT_FALSE(findings.empty()) << kept;
    EXPECT_THAT(findings.back().what, HasSubstr("cut off"));
  }
  // In the middle of a line, with or without a head to know by.
  const std::string whole = absl::StrJoin(lines_, "\n") + "\n";
  const std::string path = directory_.Write("cut.log", whole.substr(0, whole.size() - 1));
  EXPECT_THAT(VerifyAuditLog(path, {})->findings, SizeIs(1));
}

TEST_F(AuditVerifyTest, FindsALogWrittenAnew) {
  AuditHead head;
  std::vector<std::string> lines;
  for (int i = 0; i < 8; ++i) lines.push_back(MakeAuditLine({.what = "x"}, absl::Now(), head));
  const auto findings = Findings(lines);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].line, 6);
}

TEST_F(AuditVerifyTest, AMissingFileIsAnError) {
  EXPECT_THAT(VerifyAuditLog(directory_.Path("none"), {}), StatusIs(absl::StatusCode::kNotFound, testing::_));
}

}  // namespace
}  // namespace trireme
