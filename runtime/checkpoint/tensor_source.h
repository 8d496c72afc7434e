// Where weights come from: a HuggingFace directory, a GGUF file or a rank's shard file, all memory-mapped.
// Opening verifies every size, offset, dtype and name (the files are untrusted); after that a view is
// only pointer arithmetic, and pages are read when a kernel touches them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/base/mapped_file.h"
#include "runtime/tensor/tensor.h"

namespace trireme {

// How a source spells tensor names and lays out Q and K.
enum class Dialect {
  kHuggingFace,  // "model.layers.0.self_attn.q_proj.weight"; shards use these names too
  kGguf,         // "blk.0.attn_q.weight"; Q and K rows permuted for interleaved RoPE
};

// One tensor of a source, as stored.
struct TensorEntry {
  std::string name;
  ConstTensorView view;  // into the mapped file; valid while the source lives
  std::shared_ptr<const MappedFile> file;
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual Dialect dialect() const = 0;
  // True for a rank's shard: every tensor is already the slice that the rank holds.
  virtual bool holds_slices() const { return false; }
  // Sorted by name, names unique.
  virtual const std::vector<TensorEntry>& entries() const = 0;

  // nullptr when there is none of that name.
  const TensorEntry* Find(std::string_view name) const;
};

}  // namespace trireme
