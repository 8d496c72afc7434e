// MPI's part in a process: started once, asked for nothing but non-blocking sends and receives
// between pairs, and finished only when all ranks have agreed to. Errors come back as statuses,
// waits are polls with deadlines, because a stopped peer would otherwise hold MPI for ever (Open
// MPI notices a dead rank, never a stopped one).
//
// Thread: one at a time (MPI is started SERIALIZED); in Trireme, main until the group stands, then
// `step`. after it.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/comm/communicator.h"
#include "parallel/comm/flight_ring.h"

namespace trireme {

// How this process was started, read from the environment by the launcher; empty where a variable
// is unset.
struct LaunchEnvironment {
  std::string ompi_comm_world_size{};  // OMPI_COMM_WORLD_SIZE: mpirun
  std::string pmix_rank{};             // PMIX_RANK: srun --mpi=pmix, or mpirun
  std::string slurm_step_num_tasks{};  // SLURM_STEP_NUM_TASKS: srun of any kind
};

// Whether the process is one of several ranks, or alone and needs no MPI. An error for `srun -n 2`
// without PMIx, where each task would take itself for the whole group.
absl::StatusOr<bool> IsOneOfManyRanks(const LaunchEnvironment& environment);

struct MpiOptions {
  // MPI_Init waits for every rank of the job. Past this the process ends with `stuck_exit_code`,
  // because the call cannot be interrupted.
  std::chrono::milliseconds start_timeout{60'000};
  int stuck_exit_code = 1;
  // Compute threads of each rank: where ranks × threads exceed the cores, waits yield instead of
  // spinning.
  int threads_per_rank = 1;
};

class MpiSession {
 public:
  // At most once a process. The session must outlive its communicators.
  static absl::StatusOr<std::unique_ptr<MpiSession>> Start(const MpiOptions& options);
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  // Does not finalise: a rank that leaves alone would hang in MPI_Finalize. Leave by _exit, or
  // Finish first.
  ~MpiSession();

  int rank() const;
  int size() const;
  std::string HostOf(int rank) const;
  // Whether ranks (and their threads) have a core each.
  bool may_spin() const;

  // The communicator of all ranks; once. `ring` must outlive it.
  std::unique_ptr<Communicator> World(FlightRing& ring);

  // Collective, after all ranks have agreed to leave (a barrier): ends MPI. Past `timeout` the
  // process ends with `stuck_exit_code`.
  absl::Status Finish(std::chrono::milliseconds timeout);

 private:
  class MpiEndpoint;
  MpiSession(const MpiOptions& options, std::unique_ptr<MpiEndpoint> endpoint);

  const MpiOptions options_;
  std::unique_ptr<MpiEndpoint> endpoint_;
};

}  // namespace trireme
