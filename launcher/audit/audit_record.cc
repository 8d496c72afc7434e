#include "launcher/audit/audit_record.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "parallel/sha256.h"

namespace trireme {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kHashMember = ",\"hash\":\"";
constexpr std::string_view kLineEnd = "\"}";
constexpr size_t kHashDigits = 64;
constexpr size_t kSeqDigits = 19;

}  // namespace

std::string MakeAuditLine(const AuditEvent& event, absl::Time time, AuditHead& head) {
  Json line = {{"seq", head.seq + 1},
               {"time", absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone())},
               {"event", event.what}};
  const auto add = [&line](const char* name, const std::string& value) {
    if (!value.empty()) line[name] = value;
  };
  add("key", event.key_id);
  add("tenant", event.tenant);
  add("peer", event.peer);
  add("method", event.method);
  add("request", event.request_id);
  add("model", event.model);
  add("version", event.version);
  if (event.prompt_tokens.has_value()) line["prompt_tokens"] = *event.prompt_tokens;
  if (event.completion_tokens.has_value()) line["completion_tokens"] = *event.completion_tokens;
  add("outcome", event.outcome);
  add("detail", event.detail);
  line["prev"] = head.hash;
  std::string text = line.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  text.pop_back();  // the brace
  head = {.seq = head.seq + 1, .hash = Sha256Hex(text)};
  return absl::StrCat(text, std::string(kHashMember), head.hash, std::string(kLineEnd));
}

std::optional<AuditLink> ReadAuditLine(std::string_view line) {
  const size_t tail = kHashMember.size() + kHashDigits + kLineEnd.size();
  if (line.size() <= tail) return std::nullopt;
  const std::string_view text = line.substr(0, line.size() - tail);
  const std::string_view end = line.substr(text.size());
  const std::string_view hash = end.substr(kHashMember.size(), kHashDigits);
  if (!end.starts_with(kHashMember) || !end.ends_with(kLineEnd) || Sha256Hex(text) != hash) {
    return std::nullopt;
  }
  // It is as it was written, so it is JSON; nothing of an attacker's is read here that he could not
  // have hashed himself.
  const Json parsed = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return std::nullopt;
  const auto seq = parsed.find("seq");
  const auto prev = parsed.find("prev");
  if (seq == parsed.end() || !seq->is_number_integer() || prev == parsed.end() ||
      !prev->is_string()) {
    return std::nullopt;
  }
  return AuditLink{.head = {.seq = seq->get<int64_t>(), .hash = std::string(hash)},
                   .prev = prev->get<std::string>()};
}

std::string PrintHead(const AuditHead& head) {
  return absl::StrFormat("%0*d %s\n", static_cast<int>(kSeqDigits), head.seq, head.hash);
}

std::optional<AuditHead> ParseHead(std::string_view text) {
  while (!text.empty() && absl::ascii_isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  const size_t blank = text.find(' ');
  AuditHead head;
  if (blank == std::string_view::npos || !IsSha256Hex(text.substr(blank + 1)) ||
      !absl::SimpleAtoi(std::string(text.substr(0, blank)), &head.seq) || head.seq < 0) {
    return std::nullopt;
  }
  head.hash = text.substr(blank + 1);
  return head;
}

}  // namespace trireme
