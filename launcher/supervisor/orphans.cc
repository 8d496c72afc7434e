#include "launcher/supervisor/orphans.h"

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "absl/strings/str_format.h"
#include "runtime/base/deadline.h"
#include "runtime/base/log.h"

namespace trireme {

void KillOrphans() {
  const Deadline deadline = Deadline::AfterMs(500);
  while (!deadline.Passed()) {
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    std::ifstream children(absl::StrFormat("/proc/self/task/%d/children", gettid()));
    pid_t pid = 0;
    bool any = false;
    while (children >> pid) {
      any = true;
      LogWarning("ending an orphan", {{"pid", pid}});
      kill(pid, SIGKILL);
    }
    if (!any) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace trireme
