#include "launcher/audit/audit_verify.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

constexpr size_t kMaxFindings = 20;

class ChainCheck {
 public:
  explicit ChainCheck(const std::vector<AuditHead>& known) : known_(known) {}

  void Take(std::string_view line, bool ended) {
    ++report_.lines;
    if (!ended) return Find("the line is not finished: it was cut off, or its writer was");
    const std::optional<AuditLink> link = ReadAuditLine(line);
    if (!link.has_value()) {
      // The next line says what it follows; its own place is still checked.
      follows_.reset();
      return Find("the line was changed: its hash is not that of its text");
    }
    if (follows_.has_value() &&
        (link->prev != follows_->hash || link->head.seq != follows_->seq + 1)) {
      Find(
          absl::StrFormat("expected line %d of the chain here; found line %d: lines are missing, "
                          "added or moved",
                          follows_->seq + 1, link->head.seq));
    }
    follows_ = report_.head = link->head;
    for (const AuditHead& head : known_) {
      if (head.seq == link->head.seq && head.hash != link->head.hash) {
        Find("the line is another than the one whose hash was noted: the chain was rewritten");
      }
    }
  }

  AuditReport Finish() {
    for (const AuditHead& head : known_) {
      if (head.seq <= report_.head.seq) continue;
      report_.findings.push_back(
          {.line = 0,
           .what = absl::StrFormat("the log ends at line %d of the chain, and line %d was noted: "
                                   "lines were cut off at the end",
                                   report_.head.seq, head.seq)});
    }
    return std::move(report_);
  }

 private:
  void Find(std::string what) {
    if (report_.findings.size() >= kMaxFindings) return;
    report_.findings.push_back({.line = report_.lines, .what = std::move(what)});
  }

  const std::vector<AuditHead>& known_;
  std::optional<AuditHead> follows_ = AuditHead();  // nothing: the line before cannot be read
  AuditReport report_;
};

}  // namespace

absl::StatusOr<AuditReport> VerifyAuditLog(const std::string& path,
                                           const std::vector<AuditHead>& known) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    return absl::NotFoundError(absl::StrFormat("cannot open %s: %s", path, std::strerror(errno)));
  }
  ChainCheck check(known);
  std::string line;
  while (std::getline(in, line)) check.Take(line, /*ended=*/!in.eof());
  if (in.bad()) return absl::UnavailableError(absl::StrFormat("cannot read all of %s", path));
  return check.Finish();
}

std::string HeadPathOf(const std::string& log_path) { return log_path + ".head"; }

absl::StatusOr<std::optional<AuditHead>> ReadHeadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::optional<AuditHead>();
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  const std::optional<AuditHead> head = ParseHead(text);
  if (head.has_value()) return head;
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: expected a number and a hash, as beside every audit log", path));
}

}  // namespace trireme
