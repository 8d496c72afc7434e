// What every command does alike at its edges: parse flags without letting CLI11's exceptions out,
// and end with an error a person can act on.
#pragma once

#include <istream>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace CLI {
class App;
}

namespace trireme {

// The exit code to leave with now (help was printed, or the command line was wrong), or nothing:
// carry on.
std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv);

// Two real command lines for the foot of `--help`.
std::string Examples(std::string_view first, std::string_view second);

// Prints "trireme VERB: MESSAGE" and "next: NEXT" on stderr; returns kExitFailed, or kExitMisuse
// where the status is INVALID_ARGUMENT. An empty `next` prints no second line.
int FailCommand(std::string_view verb, const absl::Status& status, std::string_view next);

// Calls `line` with each non-empty line of a file ("" or "-": stdin). The first error ends it,
// prefixed with "FILE:LINE: ". A line longer than 64 MiB is refused.
absl::Status ForEachLine(const std::string& path,
                         absl::FunctionRef<absl::Status(const std::string&)> line);

}  // namespace trireme
