#include "runtime/text/json_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_format.h"

namespace trireme {
namespace {

// Prints while the parser reads, so that nothing is lost on the way: numbers arrive with their own
// digits, keys in their order.
class PythonPrinter : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit PythonPrinter(int indent) : indent_(indent) {}

  std::string TakeText() && { return std::move(text_); }
  absl::Status error() const { return error_; }

  bool null() override { return Value("null"); }
  bool boolean(bool value) override { return Value(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return Value(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Value(std::to_string(value)); }
  bool string(string_t& value) override { return Value(QuoteJson(value)); }
  bool binary(binary_t&) override { return Fail("binary values are not JSON"); }

  bool number_float(number_float_t value, const string_t& digits) override {
    // Python's integers have no bounds, so digits that are one stay as they are.
    if (digits.find_first_of(".eE") == std::string::npos) return Value(digits);
    if (!std::isfinite(value)) return Fail("the number " + digits + " is out of range");
    return Value(PythonFloat(value));
  }

  bool start_object(std::size_t) override { return Open('{'); }
  bool end_object() override { return Close('}'); }
  bool start_array(std::size_t) override { return Open('['); }
  bool end_array() override { return Close(']'); }

  bool key(string_t& value) override {
    if (!levels_.back().keys.insert(value).second) {
      return Fail("the key " + QuoteJson(value) + " occurs twice in an object");
    }
    StartItem();
    text_ += QuoteJson(value);
    text_ += ": ";
    after_key_ = true;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(absl::StrFormat("syntax error at byte %d", position));
  }

 private:
  struct Level {
    bool empty = true;
    absl::flat_hash_set<std::string> keys;
  };

  bool Fail(const std::string& what) {
    error_ = absl::InvalidArgumentError("not a JSON value that can be shown to the model: " + what);
    return false;
  }

  void NewLine() {
    text_ += '\n';
    text_.append(levels_.size() * indent_, ' ');
  }

  // What comes before an array's value or an object's key.
  void StartItem() {
    if (levels_.empty()) return;
    const bool first = std::exchange(levels_.back().empty, false);
    if (!first) text_ += indent_ > 0 ? "," : ", ";
    if (indent_ > 0) NewLine();
  }

  bool Value(std::string_view printed) {
    if (!std::exchange(after_key_, false)) StartItem();
    text_ += printed;
    return true;
  }

  bool Open(char bracket) {
    if (levels_.size() >= kMaxJsonDepth) {
      return Fail(absl::StrFormat("it nests more than %d levels", kMaxJsonDepth));
    }
    Value(std::string_view(&bracket, 1));
    levels_.emplace_back();
    return true;
  }

  bool Close(char bracket) {
    const bool empty = levels_.back().empty;
    levels_.pop_back();
    if (!empty && indent_ > 0) NewLine();
    text_ += bracket;
    return true;
  }

  const int indent_;
  std::string text_;
  std::vector<Level> levels_;
  bool after_key_ = false;
  absl::Status error_;
};

}  // namespace

bool JsonNestsDeeperThan(std::string_view json, int depth) {
  int level = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == ']' || c == '}') --level;
    if ((c == '[' || c == '{') && ++level > depth) return true;
  }
  return false;
}

absl::StatusOr<std::string> ReformatJson(std::string_view json, int indent) {
  PythonPrinter printer(indent);
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &printer)) return printer.error();
  return std::move(printer).TakeText();
}

std::string QuoteJson(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        quoted += "\\\"";
        break;
      case '\\':
        quoted += "\\\\";
        break;
      case '\n':
        quoted += "\\n";
        break;
      case '\r':
        quoted += "\\r";
        break;
      case '\t':
        quoted += "\\t";
        break;
      case '\b':
        quoted += "\\b";
        break;
      case '\f':
        quoted += "\\f";
        break;
      default:
        if (static_cast<uint8_t>(c) < 0x20) {
          quoted += absl::StrFormat("\\u%04x", static_cast<int>(c));
        } else {
          quoted += c;
        }
    }
  }
  quoted += '"';
  return quoted;
}

std::string PythonFloat(double value) {
  std::array<char, 32> buffer{};
  const auto written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                     std::chars_format::scientific);
  const std::string shortest(buffer.data(), written.ptr);  // like -1.25e-07
  const size_t mark = shortest.find('e');
  const int exponent = std::atoi(shortest.c_str() + mark + 1);
  // Python writes an exponent below 1e-4 and from 1e16 on.
  if (exponent < -4 || exponent >= 16) return shortest;
  const auto fixed =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  std::string text(buffer.data(), fixed.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

}  // namespace trireme
