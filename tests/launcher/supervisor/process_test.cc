#include "launcher/supervisor/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/base/deadline.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kPatienceMs = 30'000;

// Waits for the end, collecting output and status lines on the way.
struct Watched {
  std::optional<ProcessEnd> end;
  std::vector<std::string> output;
  std::vector<std::string> status;
};
Watched WatchToTheEnd(ChildProcess& child) {
  Watched watched;
  const Deadline deadline = Deadline::AfterMs(kPatienceMs);
  const auto read = [&] {
    child.ReadOutput([&](std::string_view line) { watched.output.emplace_back(line); });
    child.ReadStatus([&](std::string_view line) { watched.status.emplace_back(line); });
  };
  while (!watched.end.has_value() && !deadline.Passed()) {
    pollfd entries[] = {{.fd = child.pidfd(), .events = POLLIN, .revents = 0},
                        {.fd = child.output_fd(), .events = POLLIN, .revents = 0},
                        {.fd = child.status_fd(), .events = POLLIN, .revents = 0}};
    poll(entries, std::size(entries), 1'000);
    read();
    watched.end = child.Reap();
  }
  read();
  return watched;
}

ProcessSpec Shell(const std::string& script) {
  ProcessSpec spec;
  spec.argv = {"sh", "-c", script};
  return spec;
}

TEST(ChildProcessTest, ReportsExitCodesAndLines) {
  const auto child = ChildProcess::Spawn(Shell("echo one; echo two >&2; printf three; exit 7"));
  ASSERT_OK(child);
  const Watched watched = WatchToTheEnd(**child);
  ASSERT_TRUE(watched.end.has_value());
  EXPECT_EQ(watched.end->exit_code, 7);
  EXPECT_EQ(watched.end->signal, 0);
  EXPECT_THAT(watched.output, ElementsAre("one", "two", "three"));
}

TEST(ChildProcessTest, ReportsTheSignalThatEndedIt) {
  const auto child = ChildProcess::Spawn(Shell("kill -SEGV $$"));
  ASSERT_OK(child);
  const Watched watched = WatchToTheEnd(**child);
  ASSERT_TRUE(watched.end.has_value());
  EXPECT_EQ(watched.end->signal, SIGSEGV);
  EXPECT_EQ(watched.end->exit_code, 128 + SIGSEGV);
}

TEST(ChildProcessTest, MissingProgramIsNamed) {
  ProcessSpec spec;
  spec.argv = {"/nowhere/program"};
  EXPECT_THAT(ChildProcess::Spawn(spec),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/program")));
}

TEST(ChildProcessTest, ChildReportsThroughTheStatusPipe) {
  ProcessSpec spec = Shell("echo ready >&3; echo $GREETING");
  spec.status_pipe = true;
  spec.environment = {{"GREETING", "hello"}};
  const auto child = ChildProcess::Spawn(spec);
  ASSERT_OK(child);
  const Watched watched = WatchToTheEnd(**child);
  EXPECT_THAT(watched.status, ElementsAre("ready"));
  EXPECT_THAT(watched.output, ElementsAre("hello"));
}

TEST(ChildProcessTest, SignalsAreNotBlockedInTheChildWhenTheyAreInUs) {
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &term, &before);
  const auto child = ChildProcess::Spawn(Shell("exec sleep 60"));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_OK(child);
  (*child)->Signal(SIGTERM);
  const Watched watched = WatchToTheEnd(**child);
  ASSERT_TRUE(watched.end.has_value());
  EXPECT_EQ(watched.end->signal, SIGTERM);
}

TEST(ChildProcessTest, KillEndsTheWholeProcessGroup) {
  const auto child = ChildProcess::Spawn(Shell("sleep 60 & echo $!; wait"));
  ASSERT_OK(child);
  std::vector<std::string> lines;
  const Deadline deadline = Deadline::AfterMs(kPatienceMs);
  while (lines.empty() && !deadline.Passed()) {
    pollfd entry = {.fd = (*child)->output_fd(), .events = POLLIN, .revents = 0};
    poll(&entry, 1, 1'000);
    (*child)->ReadOutput([&](std::string_view line) { lines.emplace_back(line); });
  }
  ASSERT_EQ(lines.size(), 1u);
  const pid_t grandchild = static_cast<pid_t>(std::stol(lines[0]));
  (*child)->Kill();
  EXPECT_TRUE(WatchToTheEnd(**child).end.has_value());
  // Its output pipe closes when the last holder, the grandchild, is gone.
  while ((*child)->output_fd() >= 0 && !deadline.Passed()) {
    pollfd entry = {.fd = (*child)->output_fd(), .events = POLLIN, .revents = 0};
    poll(&entry, 1, 1'000);
    (*child)->ReadOutput([](std::string_view) {});
  }
  EXPECT_EQ((*child)->output_fd(), -1) << "process " << grandchild << " still runs";
}

TEST(ChildProcessTest, DestructionLeavesNoProcess) {
  int pid = 0;
  {
    const auto child = ChildProcess::Spawn(Shell("exec sleep 60"));
    ASSERT_OK(child);
    pid = (*child)->pid();
  }
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(ChildProcessTest, ALineWithoutEndIsCutAtALimit) {
  const auto child = ChildProcess::Spawn(Shell("head -c 200000 /dev/zero | tr '\\0' x"));
  ASSERT_OK(child);
  const Watched watched = WatchToTheEnd(**child);
  size_t bytes = 0;
  for (const std::string& line : watched.output) {
    EXPECT_LE(line.size(), size_t{64} << 10);
    bytes += line.size();
  }
  EXPECT_EQ(bytes, 200'000u);
}

}  // namespace
}  // namespace trireme
