// One child process: started in a process group of its own (so that Ctrl-C in the terminal reaches
// only us, and we decide who stops when), ended by the kernel if we die, its output read line by
// line through a pipe.
//
// Nothing here blocks: the owner polls pidfd() and the output descriptors and calls the matching
// method when readable. Thread: the one that spawned it, which must stay alive (the kernel ties a
// child's fate to the thread).
#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace trireme {

struct ProcessSpec {
  std::vector<std::string> argv;                                 // argv[0] is looked up in PATH
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours
  // A pipe for the child to report through; its end of it is numbered kStatusFd there.
  bool status_pipe = false;
  int parent_death_signal = SIGTERM;
};

inline constexpr int kStatusFd = 3;

// How a process ended: by exit code, or by signal.
struct ProcessEnd {
  int exit_code = 0;  // as a shell shows it: 128 + signal for one ended by a signal
  int signal = 0;     // 0: ended by itself
};

// Collects bytes and hands out whole lines, without their newline. A line beyond 64 KiB is cut
// there.
class LineReader {
 public:
  // Reads what is there now. False at the end of the stream (the last line, if unfinished, is
  // handed out).
  bool ReadFrom(int fd, const std::function<void(std::string_view)>& line);

 private:
  std::string partial_;
};

class ChildProcess {
 public:
  // NOT_FOUND when the program is not there, INTERNAL when the system refuses.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Spawn(const ProcessSpec& spec);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  // Kills what still runs, and reaps.
  ~ChildProcess();

  int pid() const { return pid_; }
  int pidfd() const { return pidfd_; }       // readable: Reap will tell
  int output_fd() const { return output_; }  // stdout and stderr together; -1 once closed
  int status_fd() const { return status_; }  // -1 without, or once closed

  void ReadOutput(const std::function<void(std::string_view)>& line);
  void ReadStatus(const std::function<void(std::string_view)>& line);

  void Signal(int signal) const;  // to the process itself; nothing once reaped
  void Kill() const;              // SIGKILL to its whole process group
  // The end, once the process is over.
  std::optional<ProcessEnd> Reap();

 private:
  ChildProcess() = default;

  int pid_ = -1;
  int pidfd_ = -1;
  int output_ = -1;
  int status_ = -1;
  LineReader output_lines_;
  LineReader status_lines_;
  std::optional<ProcessEnd> end_;
};

}  // namespace trireme
