// The exit codes of every command: supervisors, Slurm and people act on them, so they are part of
// the interface and never change meaning. A fault never exits 0. Codes stay below 126: the shell
// and mpirun use those above for signals (137 is a rank ended by SIGKILL).
#pragma once

namespace trireme {

enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,  // the command could not do what was asked; the message says why
  kExitMisuse = 2,  // unknown command, bad flag, or a configuration that cannot be read

  // Of a worker group. mpirun passes on the code of the first rank that ended with one.
  kExitStartRefused =
      64,              // a rank voted no (shards, identity, memory, mesh): a restart will not help
  kExitRankLost = 65,  // a rank died, stopped, or missed a step's deadline
  kExitCoordinatorLost = 66,    // the leader could not reach the coordinator for too long
  kExitMappedFileChanged = 67,  // a weight file shrank or was replaced while it was mapped (SIGBUS)

  // Of `trireme serve`.
  kExitGroupLost = 68,        // a group died and may not be restarted (any more)
  kExitCoordinatorDied = 69,  // the coordinator's process ended by itself
  kExitStopTimedOut = 70,     // asked to stop, but something had to be killed
};

}  // namespace trireme
