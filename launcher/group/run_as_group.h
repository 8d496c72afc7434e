// What commands that run a model share: their flags, and their life as one process or as a rank of
// a job.
#pragma once

#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "launcher/group/group_session.h"

namespace CLI {
class App;
}

namespace trireme {

// --model, --tp, --pp, --ep, --compute, --kv-dtype, --threads, … on a command.
void AddGroupFlags(CLI::App& app, GroupOptions& options);

// Opens the session, runs `lead` on the leader and the loop on followers, and leaves in agreement.
// Returns the exit code, which is lead's own where nothing went wrong. Where the group is lost or
// never forms, the process ends here, without waiting for ranks that may be gone.
int RunAsGroup(std::string_view verb, const GroupOptions& options,
               absl::FunctionRef<absl::StatusOr<int>(GroupSession&)> lead);

}  // namespace trireme
