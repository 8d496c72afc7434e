// Who died, and of what: read from what a group's job said before it ended. Open MPI names the rank
// whose process was killed; a rank that found a fault itself names it in an error line of the log.
#pragma once

#include <deque>
#include <string>
#include <string_view>

#include "launcher/supervisor/process.h"

namespace trireme {

class LossReport {
 public:
  // Each line of the job's output, in order.
  void AddLine(std::string_view line);

  // One sentence, such as "rank 1 on node-a was ended by signal 9 (Killed)", or the ranks' own
  // words, or the exit code's meaning.
  std::string Cause(const ProcessEnd& end) const;

 private:
  static constexpr size_t kKeptErrors = 3;

  std::deque<std::string> errors_;  // the last error lines of ranks
  std::string mpirun_;              // mpirun's own message, whitespace collapsed
  bool in_mpirun_ = false;
};

}  // namespace trireme
