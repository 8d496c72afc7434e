#include "launcher/gateway/batches/multipart.h"

#include "absl/strings/match.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

absl::Status NotAForm() {
  return absl::InvalidArgumentError("body: expected multipart/form-data with file and purpose");
}

// The value of NAME=VALUE or NAME="VALUE" among a field's parameters; "" where there is none.
std::string ParameterOf(std::string_view field, std::string_view name) {
  for (size_t at = field.find(';'); at != std::string_view::npos;) {
    std::string_view rest = field.substr(at + 1);
    while (rest.starts_with(' ')) rest.remove_prefix(1);
    at = field.find(';', at + 1);
    if (rest.size() <= name.size() || rest[name.size()] != '=' ||
        !absl::EqualsIgnoreCase(std::string(rest.substr(0, name.size())), std::string(name))) {
      continue;
    }
    rest.remove_prefix(name.size() + 1);
    if (!rest.starts_with('"')) return std::string(rest.substr(0, rest.find(';')));
    const size_t end = rest.find('"', 1);
    return end == std::string_view::npos ? "" : std::string(rest.substr(1, end - 1));
  }
  return "";
}

absl::StatusOr<FormPart> ParsePart(std::string_view part) {
  const size_t head_end = part.find("\r\n\r\n");
  if (head_end == std::string_view::npos) return NotAForm();
  FormPart parsed;
  parsed.content = part.substr(head_end + 4);
  std::string_view head = part.substr(0, head_end + 2);
  while (!head.empty()) {
    const size_t end = head.find("\r\n");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (!absl::StartsWithIgnoreCase(std::string(line), "content-disposition:")) continue;
    parsed.name = ParameterOf(line, "name");
    parsed.filename = ParameterOf(line, "filename");
  }
  if (parsed.name.empty()) return NotAForm();
  return parsed;
}

}  // namespace

absl::StatusOr<std::vector<FormPart>> ParseForm(std::string_view content_type,
                                                std::string_view body) {
  const std::string boundary = ParameterOf(content_type, "boundary");
  if (!absl::StartsWithIgnoreCase(std::string(content_type), "multipart/form-data") ||
      boundary.empty() || boundary.size() > 70) {
    return NotAForm();
  }
  const std::string open = "--" + boundary;
  if (!body.starts_with(open)) return NotAForm();
  body.remove_prefix(open.size());
  std::vector<FormPart> parts;
  while (!body.starts_with("--")) {
    if (!body.starts_with("\r\n") || parts.size() == kMaxFormParts) return NotAForm();
    body.remove_prefix(2);
    const size_t end = body.find("\r\n" + open);
    if (end == std::string_view::npos) return NotAForm();
    TRI_ASSIGN_OR_RETURN(FormPart part, ParsePart(body.substr(0, end)));
    parts.push_back(std::move(part));
    body.remove_prefix(end + 2 + open.size());
  }
  return parts;
}

}  // namespace trireme
