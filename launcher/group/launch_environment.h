// What mpirun and srun tell a process through its environment.
#pragma once

#include "parallel/comm/mpi_comm.h"

namespace trireme {

LaunchEnvironment ReadLaunchEnvironment();

// Ranks of the job on this machine, this one included; 1 when nothing says.
int LocalRanks();

}  // namespace trireme
