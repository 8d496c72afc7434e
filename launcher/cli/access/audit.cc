// trireme audit: checks of audit logs.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "launcher/audit/audit_verify.h"
#include "launcher/command_line.h"
#include "launcher/commands.h"
#include "launcher/exit_codes.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

struct VerifyFlags {
  std::string file;
  std::string head;   // file; "": the one beside the log
  std::string known;  // "SEQ HASH"
};

absl::StatusOr<std::vector<AuditHead>> KnownHeads(const VerifyFlags& flags) {
  std::vector<AuditHead> known;
  const std::string path = flags.head.empty() ? HeadPathOf(flags.file) : flags.head;
  TRI_ASSIGN_OR_RETURN(const std::optional<AuditHead> beside, ReadHeadFile(path));
  if (beside.has_value()) {
    known.push_back(*beside);
  } else if (!flags.head.empty()) {
    return absl::NotFoundError(absl::StrFormat("cannot open %s", path));
  }
  if (flags.known.empty()) return known;
  const std::optional<AuditHead> noted = ParseHead(flags.known);
  if (!noted.has_value()) {
    return absl::InvalidArgumentError(
        "--known: expected a line's number and hash, as verify prints them");
  }
  known.push_back(*noted);
  return known;
}

int Verify(const VerifyFlags& flags) {
  const auto known = KnownHeads(flags);
  if (!known.ok()) return FailCommand("audit", known.status(), "trireme audit verify --help");
  const auto report = VerifyAuditLog(flags.file, *known);
  if (!report.ok()) return FailCommand("audit", report.status(), "trireme audit verify --help");
  for (const AuditFinding& finding : report->findings) {
    absl::FPrintF(stderr, "trireme audit: %s:%d: %s\n", flags.file, finding.line, finding.what);
  }
  if (!report->findings.empty()) return kExitFailed;
  if (known->empty()) {
    absl::FPrintF(stderr,
                  "trireme audit: no head is known: lines cut off at the end would not "
                  "show; give --head or --known\n");
  }
  absl::PrintF("%s: %d lines, none changed; head %d %s\n", flags.file, report->lines,
               report->head.seq, report->head.hash);
  return kExitOk;
}

}  // namespace

int RunAudit(int argc, char** argv) {
  CLI::App app("Checks the audit log of a coordinator.", "trireme audit");
  app.require_subcommand(1);
  CLI::App& verify = *app.add_subcommand(
      "verify",
      "says whether lines were changed, added, moved, taken out or cut off; exits 0 if not");
  VerifyFlags flags;
  verify.add_option("FILE", flags.file, "the log")->required();
  verify.add_option("--head", flags.head, "file with a head of it (default: FILE.head)");
  verify.add_option("--known", flags.known, "'NUMBER HASH' that was printed for it before");
  app.footer(Examples("trireme audit verify audit.log",
                      "trireme audit verify audit.log --head /elsewhere/audit.log.head"));
  if (const auto exit = ParseCommandLine(app, argc, argv)) return *exit;
  return Verify(flags);
}

}  // namespace trireme
