// JSON as text, for what a parsed tree loses: chat templates print a client's tool definitions the
// way Python's json.dumps does, with keys in the client's order and numbers as Python would show
// them, and the model has learned to read exactly that. All input is untrusted.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace trireme {

// Whether brackets nest deeper than `depth`. A parsed tree is walked by recursion, so this is asked
// before parsing.
bool JsonNestsDeeperThan(std::string_view json, int depth);

// `json` as json.dumps(json.loads(json), ensure_ascii=False, indent=indent) prints it; indent 0 is
// Python's None: one line. INVALID_ARGUMENT when it is not one JSON value, nests deeper than
// kMaxJsonDepth, names a key twice in an object, or has a number that Python would read as
// infinite.
absl::StatusOr<std::string> ReformatJson(std::string_view json, int indent);
inline constexpr int kMaxJsonDepth = 100;

// A JSON string in quotes, as json.dumps(text, ensure_ascii=False). text should be valid UTF-8.
std::string QuoteJson(std::string_view text);

// repr(value) of a finite Python float: "1e-05", "0.1", "1e+16", "100.0".
std::string PythonFloat(double value);

}  // namespace trireme
