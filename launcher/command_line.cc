#include "launcher/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "absl/strings/str_format.h"
#include "launcher/exit_codes.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr size_t kMaxLineBytes = size_t{64} << 20;

// std::getline grows without bound on a file without newlines.
bool ReadLine(std::istream& in, std::string& line, bool& too_long) {
  line.clear();
  too_long = false;
  std::streambuf& buffer = *in.rdbuf();
  for (int c = buffer.sbumpc(); c != EOF; c = buffer.sbumpc()) {
    if (c == '\n') return true;
    if (line.size() == kMaxLineBytes) {
      too_long = true;
      return true;
    }
    line.push_back(static_cast<char>(c));
  }
  return !line.empty();
}

}  // namespace

std::optional<int> ParseCommandLine(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      std::cout << app.help();
      return kExitOk;
    }
    absl::FPrintF(stderr, "%s: %s\nnext: %s --help\n", app.get_name(), error.what(),
                  app.get_name());
    return kExitMisuse;
  }
}

std::string Examples(std::string_view first, std::string_view second) {
  return absl::StrFormat("Examples:\n  %s\n  %s", first, second);
}

int FailCommand(std::string_view verb, const absl::Status& status, std::string_view next) {
  absl::FPrintF(stderr, "trireme %s: %s\n", verb, std::string(status.message()));
  if (!next.empty()) absl::FPrintF(stderr, "next: %s\n", next);
  return status.code() == absl::StatusCode::kInvalidArgument ? kExitMisuse : kExitFailed;
}

absl::Status ForEachLine(const std::string& path,
                         absl::FunctionRef<absl::Status(const std::string&)> line) {
  std::ifstream file;
  const bool from_stdin = path.empty() || path == "-";
  if (!from_stdin) {
    file.open(path, std::ios::binary);
    if (!file) return absl::NotFoundError(absl::StrFormat("cannot open %s for reading", path));
  }
  std::istream& in = from_stdin ? std::cin : file;
  std::string text;
  bool too_long = false;
  for (int64_t number = 1; ReadLine(in, text, too_long); ++number) {
    const std::string where = absl::StrFormat("%s:%d: ", from_stdin ? "stdin" : path, number);
    if (too_long) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("%sexpected lines of at most %d bytes", where, kMaxLineBytes));
    }
    if (!text.empty() && text.back() == '\r') text.pop_back();
    if (text.empty()) continue;
    if (absl::Status status = line(text); !status.ok()) {
      return absl::Status(status.code(), where + std::string(status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace trireme
