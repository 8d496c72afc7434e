// What a gtest program run by mpirun shares: the MPI session of the process. Every rank runs every
// test, in the same order, and the job fails when any rank does.
#pragma once

#include "parallel/comm/mpi_comm.h"

namespace trireme {

MpiSession& TestSession();
// A communicator of all ranks that shares no traffic with any other test's.
std::unique_ptr<Communicator> FreshCommunicator();

}  // namespace trireme
