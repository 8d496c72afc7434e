#include "launcher/supervisor/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"

namespace trireme {
namespace {

constexpr size_t kMaxLineBytes = 64 << 10;
constexpr int kExecFailed = 127;

struct Pipe {
  int read = -1;
  int write = -1;
};

// The parent's end does not block, and neither end is inherited by accident.
absl::StatusOr<Pipe> MakePipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return absl::InternalError(absl::StrFormat("cannot make a pipe: %s", std::strerror(errno)));
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return Pipe{.read = ends[0], .write = ends[1]};
}

void CloseIfOpen(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

// What the child does between fork and exec; only async-signal-safe calls. Reports errno through
// `failure` and ends.
[[noreturn]] void Become(const ProcessSpec& spec, char* const* argv, int parent, int output,
                         int status, int failure) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, spec.parent_death_signal);
  // Our parent may have died before that call; then nobody would tell us.
  if (getppid() != parent) _exit(kExecFailed);
  // Ignored and blocked signals would survive exec.
  std::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDONLY);
  dup2(null, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  if (status >= 0) {
    // dup2 onto itself would leave the descriptor closed on exec.
    if (status == kStatusFd) {
      fcntl(status, F_SETFD, 0);
    } else {
      dup2(status, kStatusFd);
    }
  }
  execvp(argv[0], argv);
  const int error = errno;
  if (write(failure, &error, sizeof error) < 0) _exit(kExecFailed);
  _exit(kExecFailed);
}

}  // namespace

bool LineReader::ReadFrom(int fd, const std::function<void(std::string_view)>& line) {
  std::array<char, 16 << 10> buffer;
  while (true) {
    const ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) {
      if (!partial_.empty()) line(std::exchange(partial_, {}));
      return false;
    }
    for (const char c : std::string_view(buffer.data(), static_cast<size_t>(got))) {
      if (c != '\n') partial_.push_back(c);
      if (c == '\n' || partial_.size() >= kMaxLineBytes) line(std::exchange(partial_, {}));
    }
  }
}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Spawn(const ProcessSpec& spec) {
  TRI_CHECK(!spec.argv.empty());
  absl::StatusOr<Pipe> output = MakePipe();
  absl::StatusOr<Pipe> status = spec.status_pipe ? MakePipe() : Pipe{};
  absl::StatusOr<Pipe> failure = MakePipe();
  for (const auto* pipe : {&output, &status, &failure}) {
    if (!pipe->ok()) return pipe->status();
  }
  // All allocation is before the fork. The kStatusFd slot must not be one of the descriptors that
  // the child still needs when it is overwritten.
  const int failure_high = fcntl(failure->write, F_DUPFD_CLOEXEC, kStatusFd + 1);
  const int output_high = fcntl(output->write, F_DUPFD_CLOEXEC, kStatusFd + 1);
  std::vector<char*> argv;
  for (const std::string& word : spec.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  for (const auto& [name, value] : spec.environment) setenv(name.c_str(), value.c_str(), 1);

  const int parent = getpid();
  const int pid = fork();
  if (pid == 0) Become(spec, argv.data(), parent, output_high, status->write, failure_high);
  const int fork_error = errno;
  for (int fd : {output->write, failure->write, failure_high, output_high}) CloseIfOpen(fd);
  CloseIfOpen(status->write);
  auto child = std::unique_ptr<ChildProcess>(new ChildProcess());
  child->output_ = output->read;
  child->status_ = status->read;
  int error = pid < 0 ? fork_error : 0;
  if (pid > 0) {
    child->pid_ = pid;
    child->pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    // Both sides set the group, so that it stands before either goes on.
    setpgid(pid, pid);
    // Ends when exec succeeded (closed) or failed (an errno): at most an exec away.
    fcntl(failure->read, F_SETFL, 0);
    if (read(failure->read, &error, sizeof error) != sizeof error) error = 0;
  }
  CloseIfOpen(failure->read);
  if (error != 0) {
    return absl::Status(error == ENOENT ? absl::StatusCode::kNotFound : absl::StatusCode::kInternal,
                        absl::StrFormat("cannot start %s: %s", spec.argv[0], std::strerror(error)));
  }
  return child;
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0 && !Reap().has_value()) {
    Kill();
    waitpid(pid_, nullptr, 0);  // SIGKILL is not waited for longer than the kernel needs
  }
  CloseIfOpen(pidfd_);
  CloseIfOpen(output_);
  CloseIfOpen(status_);
}

void ChildProcess::ReadOutput(const std::function<void(std::string_view)>& line) {
  if (output_ >= 0 && !output_lines_.ReadFrom(output_, line)) CloseIfOpen(output_);
}

void ChildProcess::ReadStatus(const std::function<void(std::string_view)>& line) {
  if (status_ >= 0 && !status_lines_.ReadFrom(status_, line)) CloseIfOpen(status_);
}

void ChildProcess::Signal(int signal) const {
  if (!end_.has_value()) kill(pid_, signal);
}

void ChildProcess::Kill() const {
  // The group may outlive its leader.
  kill(-pid_, SIGKILL);
}

std::optional<ProcessEnd> ChildProcess::Reap() {
  if (end_.has_value()) return end_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  ProcessEnd end;
  if (WIFSIGNALED(status)) {
    end.signal = WTERMSIG(status);
    end.exit_code = 128 + end.signal;
  } else {
    end.exit_code = WEXITSTATUS(status);
  }
  end_ = end;
  return end_;
}

}  // namespace trireme
