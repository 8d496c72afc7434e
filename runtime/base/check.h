// TRI_CHECK: for our own bugs only. It prints the condition, the place and the values streamed into
// it, then aborts. Never reachable from a request, a file or a peer: those get an absl::Status.
#pragma once

#include <sstream>
#include <string>

namespace trireme {

// Collects the message of a failed check and aborts when destroyed.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;
  [[noreturn]] ~CheckFailure();

  template <typename T>
  CheckFailure& operator<<(const T& value) {
    message_ << value;
    return *this;
  }

 private:
  std::ostringstream message_;
};

}  // namespace trireme

#define TRI_CHECK(condition) \
  while (!(condition)) [[unlikely]] ::trireme::CheckFailure(__FILE__, __LINE__, #condition)
#define TRI_CHECK_EQ(a, b) TRI_CHECK((a) == (b)) << (a) << " vs " << (b) << ' '
#define TRI_CHECK_LE(a, b) TRI_CHECK((a) <= (b)) << (a) << " vs " << (b) << ' '
#define TRI_CHECK_LT(a, b) TRI_CHECK((a) < (b)) << (a) << " vs " << (b) << ' '
#define TRI_CHECK_OK(status_expression)                                           \
  if (const auto& tri_check_status = (status_expression); !tri_check_status.ok()) \
  ::trireme::CheckFailure(__FILE__, __LINE__, #status_expression) << tri_check_status.ToString()
