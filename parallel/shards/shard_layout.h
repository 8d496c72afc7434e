// What each rank file looks like, before a byte of it is written: a pure function of the table, the
// mesh, and the dtypes of the checkpoint. So a rank file can be resumed, and two machines that
// write different ranks agree.
//
// Slices stand in the order of how much alignment their size keeps, then in the table's: every
// slice of a multiple of 64 bytes (in practice all of them) begins on a multiple of 64, and the
// others are aligned for their dtype, without holes, which safetensors forbids.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/mesh.h"
#include "parallel/partition.h"
#include "runtime/checkpoint/tensor_source.h"
#include "runtime/model/tensor_table.h"
#include "runtime/tensor/dtype.h"

namespace trireme {

struct SliceLayout {
  size_t row = 0;  // of the table
  std::string name;
  DType dtype = DType::kF32;
  DType source_dtype = DType::kF32;  // another where the slice is quantised
  Shape shape;                       // as stored
  Slice region;                      // of the checkpoint's tensor, columns grown to whole blocks
  uint64_t offset = 0;               // from the beginning of the file
  uint64_t bytes = 0;
};

struct RankLayout {
  int rank = 0;
  std::string file_name;
  std::string header;               // length word, JSON and padding: the file's first bytes
  std::vector<SliceLayout> slices;  // by offset, tiling the file after the header
  uint64_t file_bytes = 0;
};

// The region of the checkpoint's tensor that a slice is stored from: columns grown to whole blocks.
Slice StoredRegion(const TensorSpec& spec, const Slice& slice, DType dtype);

// `source` has whole tensors, which are checked against the table. `identity` goes into the
// headers. One layout a rank, in rank order; errors as Partition and FindChecked.
absl::StatusOr<std::vector<RankLayout>> LayOutRanks(const TensorTable& table,
                                                    const std::vector<RankShare>& shares,
                                                    const TensorSource& source,
                                                    const std::string& identity);

}  // namespace trireme
