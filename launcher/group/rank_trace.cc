#include "launcher/group/rank_trace.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_format.h"
#include "runtime/base/deadline.h"
#include "runtime/engine/record/step_trace.h"

namespace trireme {
namespace {

std::string HostOf(const RankTrace& trace, int rank) {
  const auto index = static_cast<size_t>(rank);
  return index < trace.hosts.size() ? trace.hosts[index] : "unknown";
}

std::vector<TraceSpan> OperationsOf(const RankTrace& trace) {
  std::vector<TraceSpan> spans;
  if (trace.ring == nullptr) return spans;
  for (const FlightRing::Record& record : trace.ring->Snapshot(FlightRing::kRecords)) {
    std::string detail = absl::StrFormat("%d bytes", record.bytes);
    if (record.peer >= 0) {
      absl::StrAppendFormat(&detail, ", with rank %d on host %s", record.peer,
                            HostOf(trace, record.peer));
    }
    if (record.state == FlightRing::State::kFailed) detail += ", failed";
    spans.push_back(
        {.name = absl::StrFormat("%s \"%s\" of step %d", std::string(VerbName(record.verb)),
                                 record.what, record.step),
         .detail = detail,
         .begin_ns = record.started_ns,
         .end_ns = record.ended_ns});
  }
  return spans;
}

}  // namespace

std::string TraceOf(const RankTrace& trace, const std::string& reason) {
  TraceInput input{.steps = trace.steps,
                   .hosts = trace.hosts,
                   .shards = trace.shards,
                   .rank = trace.rank,
                   .operations = OperationsOf(trace),
                   .reason = reason,
                   .now_ns = MonotonicNs()};
  std::string text = ChromeTrace(input);
  // Many stages make long steps: the oldest are left out.
  while (text.size() > kMostTraceBytes && !input.steps.empty()) {
    input.steps = input.steps.last(input.steps.size() / 2);
    text = ChromeTrace(input);
  }
  return text;
}

absl::StatusOr<std::string> WriteTrace(const RankTrace& trace, const std::string& reason,
                                       const std::string& directory) {
  std::error_code error;
  const std::filesystem::path folder = directory.empty()
                                           ? std::filesystem::temp_directory_path(error)
                                           : std::filesystem::path(directory);
  const std::string path =
      (folder / absl::StrFormat("trireme-rank%d-%d.trace.json", trace.rank, getpid())).string();
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << TraceOf(trace, reason);
  out.close();
  if (!out) return absl::UnavailableError(absl::StrFormat("could not write a trace to %s", path));
  return path;
}

}  // namespace trireme
