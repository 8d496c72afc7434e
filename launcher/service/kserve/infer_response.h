// What ResponseBuilder makes of a call, as the output tensors of a KServe response. Pure.
#pragma once

#include <string>

#include "kserve/inference.pb.h"
#include "launcher/service/kserve/infer_request.h"

namespace trireme {

// One response with `chunk`: a part of one of `choices` completions, or all of them. Tensors have
// an element for each completion (the text of those that the chunk says nothing of is empty), but
// num_input_tokens, which has one.
inference::ModelInferResponse MakeInferResponse(const ReplyForm& form,
                                                const v1::GenerateResponse& chunk, int32_t choices,
                                                int64_t input_tokens);

// In streams: whether a response is the last one to its request.
void SetFinal(bool final, inference::ModelInferResponse& response);

}  // namespace trireme
