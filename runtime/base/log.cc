#include "runtime/base/log.h"

#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <ctime>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

// The process's identity in its log: written once by main before threads start.
std::string& Origin() {
  static std::string* const origin = new std::string;
  return *origin;
}
std::atomic<LogLevel> lowest_level{LogLevel::kInfo};

// U+0080 to U+009F: terminals obey them as they obey escape sequences.
bool BeginsC1Control(std::string_view text) {
  return text.size() > 1 && text[0] == '\xc2' && static_cast<unsigned char>(text[1]) < 0xa0;
}

void AppendEscaped(std::string_view value, std::string& line) {
  const bool quote = value.empty() || value.find_first_of(" \t\"=\\") != std::string_view::npos;
  if (quote) line += '"';
  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    const auto byte = static_cast<unsigned char>(c);
    if (BeginsC1Control(value.substr(i))) {
      line += absl::StrFormat("\\x%02x\\x%02x", byte, static_cast<unsigned char>(value[++i]));
    } else if (c == '\n') {
      line += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      line += absl::StrFormat("\\x%02x", byte);
    } else {
      if (quote && (c == '"' || c == '\\')) line += '\\';
      line += c;
    }
  }
  if (quote) line += '"';
}

}  // namespace

LogField::LogField(std::string_view k, double v) : key(k), value(absl::StrFormat("%.6g", v)) {}

void SetLogOrigin(std::string origin) { Origin() = std::move(origin); }
void SetLogLevel(LogLevel lowest) { lowest_level = lowest; }

void Log(LogLevel level, std::string_view phrase, std::initializer_list<LogField> fields) {
  if (level < lowest_level.load(std::memory_order_relaxed)) return;
  timeval now{};
  gettimeofday(&now, nullptr);
  tm local{};
  localtime_r(&now.tv_sec, &local);
  std::string line =
      absl::StrFormat("%c %02d:%02d:%02d.%03d ", "DIWE"[static_cast<int>(level)], local.tm_hour,
                      local.tm_min, local.tm_sec, static_cast<int>(now.tv_usec / 1000));
  if (!Origin().empty()) line += Origin() + ' ';
  line += phrase;
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    AppendEscaped(field.value, line);
  }
  line += '\n';
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace trireme
