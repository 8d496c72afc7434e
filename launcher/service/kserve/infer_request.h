// A KServe request in the terms of trireme.v1: the same GenerateRequest that a client of ours would
// have sent, for the same admission, and the form in which the answer is wanted. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kserve/inference.pb.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// How a client wants to be answered.
struct ReplyForm {
  std::string model;
  std::string id;    // as the client gave it
  bool raw = false;  // bytes instead of contents
  bool text = false;
  bool finish_reason = false;
  bool input_tokens = false;
  bool output_tokens = false;
};

struct InferRequest {
  v1::GenerateRequest generate;
  ReplyForm form;
  bool stream = false;
  std::optional<std::chrono::milliseconds> timeout;
};

// INVALID_ARGUMENT (names the tensor or parameter), NOT_FOUND (of that version), UNIMPLEMENTED.
absl::StatusOr<InferRequest> ReadInferRequest(const inference::ModelInferRequest& request);

}  // namespace trireme
