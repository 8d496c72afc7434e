// Whether an audit log is as it was written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/audit/audit_record.h"

namespace trireme {

struct AuditFinding {
  int64_t line = 0;  // from 1; 0: of the file as a whole
  std::string what;
};

struct AuditReport {
  int64_t lines = 0;
  AuditHead head;                      // of the last line that is whole
  std::vector<AuditFinding> findings;  // the first few; none: nothing was changed
};

// `known`: a head that is to be found in the log, from the file beside it or noted elsewhere;
// without one, lines cut off at the end cannot be told from lines that were never written.
// NOT_FOUND and UNAVAILABLE where the file cannot be read.
absl::StatusOr<AuditReport> VerifyAuditLog(const std::string& path,
                                           const std::vector<AuditHead>& known);

// The file beside a log that holds its head.
std::string HeadPathOf(const std::string& log_path);
// Nothing where there is none. INVALID_ARGUMENT where it holds something else.
absl::StatusOr<std::optional<AuditHead>> ReadHeadFile(const std::string& path);

}  // namespace trireme
