// Python's literals as models write them in calls, read as JSON. The text may end anywhere: what is
// only the beginning of something is told apart from what can be nothing.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace trireme {

enum class ReadOutcome {
  kRead,
  kMore,     // a longer text may be one
  kNothing,  // no text that begins like this is one
};

class PythonReader {
 public:
  using Json = nlohmann::ordered_json;

  explicit PythonReader(std::string_view text) : text_(text) {}

  size_t position() const { return position_; }

  // f(name=literal, …): the arguments as an object.
  ReadOutcome ReadCall(std::string& name, Json& arguments);

 private:
  static constexpr int kMaxDepth = 64;

  bool AtEnd() const { return position_ == text_.size(); }
  char Peek() const { return text_[position_]; }
  void SkipBlanks();
  // kRead where the next character is this one; it is taken.
  ReadOutcome Expect(char c);
  ReadOutcome ReadName(std::string& name);
  ReadOutcome ReadArgument(Json& arguments);
  ReadOutcome ReadValue(int depth, Json& value);
  ReadOutcome ReadText(std::string& value);
  ReadOutcome ReadEscape(std::string& value);
  ReadOutcome ReadList(char close, int depth, Json& value);
  ReadOutcome ReadDict(int depth, Json& value);
  ReadOutcome ReadWord(Json& value);
  ReadOutcome ReadNumber(Json& value);

  const std::string_view text_;
  size_t position_ = 0;
};

}  // namespace trireme
