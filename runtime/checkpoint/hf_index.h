// A HuggingFace checkpoint directory as one TensorSource: either model.safetensors, or many files
// named by model.safetensors.index.json:
//
//   {"metadata": {"total_size": 1968640},
//    "weight_map": {"lm_head.weight": "model-00001-of-00003.safetensors", …}}
//
// Every tensor that the index lists must be in the file it names, and no tensor may be in two
// files. Tensors that files hold beyond the index are kept; whether they belong is for the model's
// table to say.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/checkpoint/stored_tensor.h"
#include "runtime/checkpoint/tensor_source.h"

namespace trireme {

// Tensor name → file name. INVALID_ARGUMENT unless every file name is a plain name ending in
// ".safetensors" (no directories, so that an index cannot point outside its own).
absl::StatusOr<std::map<std::string, std::string>> ParseHfIndex(std::string_view json_text,
                                                                std::string_view file_name);

class HfDirectory final : public TensorSource {
 public:
  // NOT_FOUND when the directory holds neither form, or a listed file or tensor is missing;
  // INVALID_ARGUMENT for content. model.safetensors wins when both forms are there.
  static absl::StatusOr<std::unique_ptr<HfDirectory>> Open(const std::string& directory);

  Dialect dialect() const override { return Dialect::kHuggingFace; }
  const std::vector<TensorEntry>& entries() const override { return tensors_.entries; }
  const std::vector<UnsupportedTensor>& unsupported() const override {
    return tensors_.unsupported;
  }

 private:
  HfDirectory() = default;

  ViewedTensors tensors_;
};

}  // namespace trireme
