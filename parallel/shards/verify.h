// Reads every byte of a shard directory and compares it with the manifest's checksums. What is
// wrong is listed, not just the first of it: file, tensor, and the chunk's place in the file.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/model/tensor_table.h"

namespace trireme {

struct VerifyProgress {
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
};

struct VerifyOptions {
  std::vector<int> ranks;  // only these files; empty for all that the manifest lists
  int threads = 2;
  // Called after chunks, on the caller's thread.
  std::function<void(const VerifyProgress&)> progress = [](const VerifyProgress&) {};
};

struct Damage {
  std::string file;     // its path
  std::string tensor;   // "" outside the tensors
  uint64_t offset = 0;  // from the beginning of the file, where the damaged chunk begins
  std::string what;
};

struct VerifyReport {
  std::string identity;
  int mesh_ranks = 0;
  std::vector<int> ranks;      // verified
  uint64_t bytes = 0;          // read
  std::vector<Damage> damage;  // by file and offset
};

// An error when there is nothing to compare with: no manifest, or one that is itself damaged.
// Damage in the files is in the report.
absl::StatusOr<VerifyReport> VerifyShards(const std::string& directory,
                                          const VerifyOptions& options);

// OK, or DATA_LOSS with the first damage and how many more there are.
absl::Status DamageStatus(const VerifyReport& report);

}  // namespace trireme
