// The operator's log: one line an event on stderr, a fixed phrase followed by key=value fields.
//
//   LogInfo("group formed", {{"ranks", 4}, {"mesh", "pp=2 tp=2"}});
//   I 12:03:55.120 rank=0 group formed ranks=4 mesh="pp=2 tp=2"
//
// Values are quoted when they hold blanks, and control bytes are escaped, so that text from outside
// cannot forge a line. Never log prompt or completion text. Thread-safe; one write(2) a line.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace trireme {

struct LogField {
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
  LogField(std::string_view k, std::integral auto v) : key(k), value(std::to_string(v)) {}
  LogField(std::string_view k, double v);

  std::string_view key;
  std::string value;
};

enum class LogLevel { kDebug, kInfo, kWarning, kError };

void Log(LogLevel level, std::string_view phrase, std::initializer_list<LogField> fields);

inline void LogDebug(std::string_view phrase, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kDebug, phrase, fields);
}
inline void LogInfo(std::string_view phrase, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kInfo, phrase, fields);
}
inline void LogWarning(std::string_view phrase, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kWarning, phrase, fields);
}
inline void LogError(std::string_view phrase, std::initializer_list<LogField> fields = {}) {
  Log(LogLevel::kError, phrase, fields);
}

// Set once by main before any thread starts: what every line begins with (e.g. "rank=1"), and the
// lowest level that is written (kInfo unless set).
void SetLogOrigin(std::string origin);
void SetLogLevel(LogLevel lowest);

}  // namespace trireme
