// One line of the audit log, and what ties it to the one before.
//
//   {"seq":7,"time":"2026-11-25T07:00:00.123Z","event":"request",…,"prev":"HASH","hash":"HASH"}
//
// `hash` is SHA-256 of the line up to and without `,"hash":`; `prev` is the line before's, and
// zeros in the first. So a line that is changed, missing, added or moved shows in the lines that
// follow it; what is cut off at the end shows against the head (audit_log.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace trireme {

// What happened; nothing of what people wrote. Fields that are empty are left out.
struct AuditEvent {
  std::string what;    // "request", "refused", "admin", "group", "start", "stop"
  std::string key_id;  // who: never the key itself
  std::string tenant;
  std::string peer;    // address
  std::string method;  // what was called: a method's or a route's path
  std::string request_id;
  std::string model;
  std::string version;  // identity of the model
  std::optional<int64_t> prompt_tokens;
  std::optional<int64_t> completion_tokens;
  std::string outcome;  // "OK", or the name of a status code
  std::string detail;   // a fixed text of ours
};

// Where a chain stands: after its line `seq`.
struct AuditHead {
  int64_t seq = 0;  // 0: no line yet
  std::string hash = std::string(64, '0');
  bool operator==(const AuditHead&) const = default;
};

// The line that follows `head`, without its newline; `head` moves on. ASCII: everything else, and
// every control byte, is escaped, so that a line is a line whatever is in it.
std::string MakeAuditLine(const AuditEvent& event, absl::Time time, AuditHead& head);

// What a line says of its place, if it is whole and its hash is right.
struct AuditLink {
  AuditHead head;    // of the chain after it
  std::string prev;  // the hash it says it follows
};
std::optional<AuditLink> ReadAuditLine(std::string_view line);

// "SEQ HASH", of one length for all, so that it can be overwritten in place.
std::string PrintHead(const AuditHead& head);
std::optional<AuditHead> ParseHead(std::string_view text);

}  // namespace trireme
