// Where weights come from: a HuggingFace directory, a GGUF file or a rank's shard file, all
// memory-mapped. Opening verifies every size, offset, dtype and name (the files are untrusted);
// after that a view is only pointer arithmetic, and pages are read when a kernel touches them.
//
// A file may hold tensors that no op reads (an I64 index, a 5-dimensional vision kernel). They are
// listed apart, with the reason, and are an error only for whoever asks for one of them.
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
  ConstTensorView view;  // into the mapped file; valid while `file` or the source lives
  std::shared_ptr<const MappedFile> file;
};

// A tensor that is in the file but cannot be viewed.
struct UnsupportedTensor {
  std::string name;
  std::string reason;  // "dtype I64 is not one Trireme computes with", …
  std::string path;    // of the file that holds it
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;

  virtual Dialect dialect() const = 0;
  // True for a rank's shard: every tensor is already the slice that the rank holds.
  virtual bool holds_slices() const { return false; }
  // Sorted by name, names unique.
  virtual const std::vector<TensorEntry>& entries() const = 0;
  // Sorted by name; no name is also in entries(). Empty unless the source's format allows such
  // tensors.
  virtual const std::vector<UnsupportedTensor>& unsupported() const;

  // nullptr when there is none of that name.
  const TensorEntry* Find(std::string_view name) const;
  // Never nullptr: NOT_FOUND names the tensor and the files searched; UNIMPLEMENTED says why the
  // tensor cannot be viewed.
  absl::StatusOr<const TensorEntry*> Require(std::string_view name) const;
};

}  // namespace trireme
