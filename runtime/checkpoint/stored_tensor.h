// What a checkpoint file's header says of one tensor, after it has been verified: the meeting point
// of the safetensors and GGUF parsers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/mapped_file.h"
#include "runtime/checkpoint/tensor_source.h"
#include "runtime/tensor/dtype.h"
#include "runtime/tensor/shape.h"

namespace trireme {

struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;          // every extent at least 1
  uint64_t offset = 0;  // from the beginning of the file, aligned for dtype
  uint64_t bytes = 0;
  // Why no op can read it (then dtype, shape and alignment mean nothing), or empty.
  std::string unsupported;
};

// Tensors of a file, parted into those that can be viewed and those that cannot; both keep their
// order.
struct ViewedTensors {
  std::vector<TensorEntry> entries;
  std::vector<UnsupportedTensor> unsupported;
};
inline ViewedTensors ViewTensors(const std::shared_ptr<const MappedFile>& file,
                                 std::vector<StoredTensor> tensors) {
  ViewedTensors viewed;
  for (StoredTensor& tensor : tensors) {
    if (!tensor.unsupported.empty()) {
      viewed.unsupported.push_back(
          {std::move(tensor.name), std::move(tensor.unsupported), file->path()});
      continue;
    }
    const std::byte* data = file->bytes().data() + tensor.offset;
    viewed.entries.push_back(
        {std::move(tensor.name), ConstTensorView(data, tensor.dtype, tensor.shape), file});
  }
  return viewed;
}

}  // namespace trireme
