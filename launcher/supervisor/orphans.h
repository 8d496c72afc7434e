// The last line of order: whatever our children left running when they ended.
#pragma once

namespace trireme {

// Kills and reaps every process that is now a child of this one (a subreaper inherits orphans),
// until there is none or half a second has passed.
void KillOrphans();

}  // namespace trireme
