// The input tensors of a request as plain values. Shape, datatype and bytes come from outside and
// may contradict each other: each is checked against the others before an element is read, and
// errors say what was expected without repeating what was sent.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/service/kserve/model_tensors.h"

namespace trireme {

using TensorValue = std::variant<bool, int64_t, uint64_t, double, std::string>;

struct ReadTensor {
  const InputTensor* input = nullptr;  // of the table
  std::vector<TensorValue> values;     // as many as the shape says; exactly one where it is no list
};

// In the order of the request, no name twice. INVALID_ARGUMENT, or UNIMPLEMENTED (shared memory).
absl::StatusOr<std::vector<ReadTensor>> ReadTensors(const inference::ModelInferRequest& request);

}  // namespace trireme
