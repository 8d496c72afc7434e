#include "launcher/supervisor/loss_report.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "launcher/exit_codes.h"

namespace trireme {
namespace {

constexpr size_t kMaxMessageBytes = 4096;

// The text between `before` and `after`.
std::optional<std::string> Between(const std::string& text, std::string_view before,
                                   std::string_view after) {
  const size_t begin = text.find(before);
  if (begin == std::string::npos) return std::nullopt;
  const size_t from = begin + before.size();
  const size_t end = text.find(after, from);
  if (end == std::string::npos) return std::nullopt;
  return text.substr(from, end - from);
}

// "mpirun noticed that process rank 1 with PID 0 on node vm exited on signal 9 (Killed)."
// "mpirun has exited due to process rank 1 with PID 0 on node vm exiting improperly. …"
// "mpirun detected that one or more processes exited with non-zero status, … Process name:
// [[1,1],1] Exit code: 65"
std::string FromMpirun(const std::string& text) {
  const auto rank = Between(text, "process rank ", " ");
  const auto node = Between(text, "on node ", " ");
  if (rank.has_value() && node.has_value()) {
    if (const auto signal = Between(text, "exited on signal ", "."); signal.has_value()) {
      return absl::StrFormat("rank %s on %s was ended by signal %s", *rank, *node, *signal);
    }
    return absl::StrFormat("rank %s on %s ended early, without leaving the group", *rank, *node);
  }
  const auto name = Between(text, "Process name: [[", " ");
  const auto code = Between(text + " ", "Exit code: ", " ");
  if (name.has_value() && code.has_value()) {
    const size_t bracket = name->rfind("],");
    if (bracket != std::string::npos) {
      return absl::StrFormat("rank %s ended with exit code %s",
                             name->substr(bracket + 2, name->size() - bracket - 3), *code);
    }
  }
  return "";
}

std::string_view Meaning(int exit_code) {
  switch (exit_code) {
    case kExitMisuse:
      return "its command line was refused";
    case kExitStartRefused:
      return "it refused to start";
    case kExitRankLost:
      return "a rank died, stopped, or missed a deadline";
    case kExitCoordinatorLost:
      return "it could not reach the coordinator";
    case kExitMappedFileChanged:
      return "a weight file changed while it was mapped";
    default:
      return "";
  }
}

// A line of runtime/base/log.h at level error: "E 12:03:55.120 …".
bool IsErrorLine(std::string_view line) {
  return line.size() > 11 && line.starts_with("E ") && line[4] == ':' && line[7] == ':';
}

}  // namespace

void LossReport::AddLine(std::string_view line) {
  if (IsErrorLine(line) || line.starts_with("trireme ")) {
    if (errors_.size() == kKeptErrors) errors_.pop_front();
    errors_.emplace_back(line);
  }
  if (line.starts_with("mpirun noticed") || line.starts_with("mpirun detected") ||
      line.starts_with("mpirun has exited")) {
    in_mpirun_ = true;
    mpirun_.clear();
  } else if (line.starts_with("-----")) {
    in_mpirun_ = false;
  }
  if (in_mpirun_ && mpirun_.size() < kMaxMessageBytes) {
    absl::StrAppend(&mpirun_, " ", std::string(line));
    absl::RemoveExtraAsciiWhitespace(&mpirun_);
  }
}

std::string LossReport::Cause(const ProcessEnd& end) const {
  std::string cause = FromMpirun(mpirun_);
  if (cause.empty() && end.signal != 0) {
    cause = absl::StrFormat("its mpirun was ended by signal %d", end.signal);
  }
  if (cause.empty()) cause = absl::StrFormat("exit code %d", end.exit_code);
  if (const std::string_view meaning = Meaning(end.exit_code); !meaning.empty()) {
    cause += absl::StrFormat(": %s", meaning);
  }
  for (const std::string& error : errors_) cause += absl::StrFormat("; it said: %s", error);
  return cause;
}

}  // namespace trireme
