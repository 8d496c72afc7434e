// A group of one as a Communicator: sums are nothing, gathers are copies, and there is nobody to
// send to. It makes a single process run the same code as a group.
#pragma once

#include <memory>

#include "parallel/comm/communicator.h"

namespace trireme {

std::unique_ptr<Communicator> MakeSoloCommunicator();

}  // namespace trireme
