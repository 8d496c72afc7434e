#include "launcher/group/launch_environment.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace trireme {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

LaunchEnvironment ReadLaunchEnvironment() {
  return {.ompi_comm_world_size = Variable("OMPI_COMM_WORLD_SIZE"),
          .pmix_rank = Variable("PMIX_RANK"),
          .slurm_step_num_tasks = Variable("SLURM_STEP_NUM_TASKS")};
}

int LocalRanks() {
  // Slurm writes "2(x2)" for two tasks on each of two nodes: the number in front is this node's
  // where nodes are alike.
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_STEP_TASKS_PER_NODE"}) {
    const std::string text = Variable(name);
    int ranks = 0;
    std::from_chars(text.data(), text.data() + text.size(), ranks);
    if (ranks > 0) return ranks;
  }
  return 1;
}

}  // namespace trireme
