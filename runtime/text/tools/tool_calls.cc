#include "runtime/text/tools/tool_calls.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "runtime/text/json_text.h"
#include "runtime/text/tools/python_literals.h"

namespace trireme {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFunctionOpen = "<function=";
constexpr std::string_view kFunctionClose = "</function>";
// Nothing of them is for the reader.
constexpr std::string_view kMarks[] = {"<|python_tag|>", "<|python_start|>", "<|python_end|>"};
// What a call's first key may be; any other object is somebody's answer.
constexpr std::string_view kFirstKeys[] = {"name", "type", "function", "parameters", "arguments"};
// A call that is longer is held back no more.
constexpr size_t kMaxHeldBytes = size_t{256} << 10;
// From here on a reading is only tried again where it may succeed.
constexpr size_t kEagerBytes = 1 << 10;

struct Reading {
  ReadOutcome outcome = ReadOutcome::kNothing;
  size_t bytes = 0;
  ChatToolCall call;
};

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

void SkipBlanks(std::string_view& text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
}

// Whether `text` begins with `mark`, or may when it goes on.
ReadOutcome Begins(std::string_view text, std::string_view mark) {
  if (text.starts_with(mark)) return ReadOutcome::kRead;
  return mark.starts_with(text) ? ReadOutcome::kMore : ReadOutcome::kNothing;
}

// The size of the object that the text begins with; nothing while it is open.
std::optional<size_t> ObjectSize(std::string_view text) {
  int level = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
      continue;
    }
    if (c == '"') quoted = true;
    if (c == '{' || c == '[') ++level;
    if ((c == '}' || c == ']') && --level == 0) return i + 1;
  }
  return std::nullopt;
}

ReadOutcome FirstKeyFits(std::string_view object) {
  object.remove_prefix(1);
  SkipBlanks(object);
  if (object.empty()) return ReadOutcome::kMore;
  if (object.front() != '"') return ReadOutcome::kNothing;
  object.remove_prefix(1);
  ReadOutcome best = ReadOutcome::kNothing;
  for (const std::string_view key : kFirstKeys) {
    const ReadOutcome outcome = Begins(object, key);
    if (outcome == ReadOutcome::kRead) return outcome;
    if (outcome == ReadOutcome::kMore) best = outcome;
  }
  return best;
}

std::optional<std::string> ArgumentsOf(const Json& call) {
  for (const char* key : {"parameters", "arguments"}) {
    if (!call.contains(key)) continue;
    const Json& value = call[key];
    if (value.is_object()) return value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (!value.is_string()) return std::nullopt;
    const Json inner = Json::parse(value.get<std::string>(), nullptr, /*allow_exceptions=*/false);
    if (!inner.is_object()) return std::nullopt;
    return value.get<std::string>();
  }
  return "{}";
}

Reading ReadJsonCall(std::string_view text) {
  Reading reading;
  reading.outcome = FirstKeyFits(text);
  if (reading.outcome != ReadOutcome::kRead) return reading;
  const std::optional<size_t> size = ObjectSize(text);
  if (JsonNestsDeeperThan(text.substr(0, size.value_or(text.size())), ToolCallParser::kMaxDepth)) {
    reading.outcome = ReadOutcome::kNothing;
    return reading;
  }
  reading.outcome = size.has_value() ? ReadOutcome::kNothing : ReadOutcome::kMore;
  if (!size.has_value()) return reading;
  const std::string_view object = text.substr(0, *size);
  Json call = Json::parse(object.begin(), object.end(), nullptr, /*allow_exceptions=*/false);
  if (call.is_object() && call.contains("function") && call["function"].is_object()) {
    call = Json(call["function"]);
  }
  if (!call.is_object() || !call.contains("name") || !call["name"].is_string()) return reading;
  std::optional<std::string> arguments = ArgumentsOf(call);
  if (!arguments.has_value()) return reading;
  reading.outcome = ReadOutcome::kRead;
  reading.bytes = *size;
  reading.call = {.name = call["name"].get<std::string>(), .arguments_json = *std::move(arguments)};
  return reading;
}

Reading ReadFunctionCall(std::string_view text) {
  Reading reading;
  const size_t name_end = text.find('>');
  if (name_end == std::string_view::npos) {
    reading.outcome = ReadOutcome::kMore;
    return reading;
  }
  std::string_view rest = text.substr(name_end + 1);
  SkipBlanks(rest);
  if (!rest.empty() && rest.front() != '{') return reading;
  const std::optional<size_t> size = ObjectSize(rest);
  reading.outcome = ReadOutcome::kMore;
  if (!size.has_value()) return reading;
  const std::string arguments(rest.substr(0, *size));
  rest.remove_prefix(*size);
  SkipBlanks(rest);
  reading.outcome = Begins(rest, kFunctionClose);
  if (reading.outcome != ReadOutcome::kRead) return reading;
  rest.remove_prefix(kFunctionClose.size());
  reading.bytes = text.size() - rest.size();
  reading.call = {
      .name = std::string(text.substr(kFunctionOpen.size(), name_end - kFunctionOpen.size())),
      .arguments_json = arguments};
  const bool deep = JsonNestsDeeperThan(arguments, ToolCallParser::kMaxDepth);
  if (deep || !Json::parse(arguments, nullptr, /*allow_exceptions=*/false).is_object()) {
    reading.outcome = ReadOutcome::kNothing;
  }
  return reading;
}

Reading ReadPythonCall(std::string_view text) {
  Reading reading;
  PythonReader reader(text);
  Json arguments;
  reading.outcome = reader.ReadCall(reading.call.name, arguments);
  reading.bytes = reader.position();
  reading.call.arguments_json = arguments.dump(-1, ' ', false, Json::error_handler_t::replace);
  return reading;
}

// One call at the beginning of the text; `first`: nothing was a call before, and a list must say
// that it is one.
Reading ReadCall(std::string_view text, bool first) {
  const size_t size = text.size();
  bool in_list = !first;
  while (true) {
    SkipBlanks(text);
    if (text.empty()) return {.outcome = ReadOutcome::kMore};
    bool skipped = false;
    for (const std::string_view mark : kMarks) {
      const ReadOutcome outcome = Begins(text, mark);
      if (outcome == ReadOutcome::kMore) return {.outcome = outcome};
      if (outcome != ReadOutcome::kRead) continue;
      text.remove_prefix(mark.size());
      skipped = true;
    }
    if (!skipped && text.starts_with('[') && !in_list) {
      in_list = skipped = true;
      text.remove_prefix(1);
    }
    if (!skipped) break;
  }
  Reading reading;
  if (text.front() == '{') {
    reading = ReadJsonCall(text);
  } else if (const ReadOutcome tag = Begins(text, kFunctionOpen); tag != ReadOutcome::kNothing) {
    if (tag == ReadOutcome::kMore) return {.outcome = tag};
    reading = ReadFunctionCall(text);
  } else if (in_list) {
    reading = ReadPythonCall(text);
  }
  reading.bytes += size - text.size();
  return reading;
}

}  // namespace

ToolCallParser::Found ToolCallParser::Push(std::string_view piece) {
  Found found;
  held_ += piece;
  const bool may_end = held_.size() < kEagerBytes || state_ == State::kText ||
                       piece.find_first_of("}])>") != std::string_view::npos;
  if (held_.size() > kMaxHeldBytes) state_ = State::kText;
  if (may_end || state_ == State::kText) Scan(/*at_end=*/false, found);
  return found;
}

ToolCallParser::Found ToolCallParser::Finish() {
  Found found;
  Scan(/*at_end=*/true, found);
  return found;
}

void ToolCallParser::Scan(bool at_end, Found& found) {
  while (state_ != State::kText) {
    if (state_ == State::kCalls) {
      // Between calls, and after the last.
      size_t gap = 0;
      while (gap < held_.size() &&
             (IsBlank(held_[gap]) || held_[gap] == ';' || held_[gap] == ',' || held_[gap] == ']')) {
        ++gap;
      }
      held_.erase(0, gap);
      for (const std::string_view mark : kMarks) {
        if (held_.starts_with(mark)) held_.erase(0, mark.size());
      }
      if (held_.empty()) return;
    }
    Reading reading = ReadCall(held_, state_ == State::kUndecided);
    const bool offered = std::ranges::find(tools_, reading.call.name) != tools_.end();
    if (reading.outcome == ReadOutcome::kMore && !at_end) return;
    if (reading.outcome != ReadOutcome::kRead || !offered) {
      state_ = State::kText;
      break;
    }
    state_ = State::kCalls;
    held_.erase(0, reading.bytes);
    found.calls.push_back(std::move(reading.call));
  }
  found.content += std::exchange(held_, {});
}

}  // namespace trireme
