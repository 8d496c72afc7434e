// The fields that chat and completions have in common.
#pragma once

#include <algorithm>
#include <charconv>

#include "launcher/gateway/openai_request/json_fields.h"
#include "launcher/gateway/openai_request/request_reader.h"
#include "runtime/base/status_macros.h"

namespace trireme {

absl::Status ReadSampling(const Json& body, v1::SamplingParams& sampling);
absl::Status ReadLogitBias(const Json& body, google::protobuf::Map<int32_t, float>& biases);
// stop: a text, or a list of them.
absl::Status ReadStop(const Json& body, google::protobuf::RepeatedPtrField<std::string>& stop);
absl::Status ReadStream(const Json& body, ReplyForm& form);
absl::Status ReadResponseFormat(const Json& body, v1::Constraint& constraint);
absl::Status ReadTokenIds(const Json& list, std::string_view field,
                          google::protobuf::RepeatedField<int32_t>& ids);

template <typename RequestProto>
absl::Status ReadShared(const Json& body, RequestProto& request, ReplyForm& form) {
  TRI_RETURN_IF_ERROR(ReadText(body, "model", *request.mutable_model()));
  TRI_RETURN_IF_ERROR(ReadSampling(body, *request.mutable_sampling()));
  TRI_RETURN_IF_ERROR(ReadLogitBias(body, *request.mutable_logit_bias()));
  TRI_RETURN_IF_ERROR(ReadStop(body, *request.mutable_stop()));
  if (const Json* ids = FindField(body, "stop_token_ids")) {
    TRI_RETURN_IF_ERROR(ReadTokenIds(*ids, "stop_token_ids", *request.mutable_stop_tokens()));
  }
  TRI_RETURN_IF_ERROR(ReadWhole<int32_t>(body, "n", [&](int32_t n) { request.set_n(n); }));
  TRI_RETURN_IF_ERROR(ReadWhole<int32_t>(body, "min_tokens",
                                         [&](int32_t count) { request.set_min_tokens(count); }));
  TRI_RETURN_IF_ERROR(
      ReadWhole<int32_t>(body, "priority", [&](int32_t value) { request.set_priority(value); }));
  bool ignore_eos = false;
  TRI_RETURN_IF_ERROR(ReadBool(body, "ignore_eos", ignore_eos));
  request.set_ignore_eos(ignore_eos);
  TRI_RETURN_IF_ERROR(ReadResponseFormat(body, *request.mutable_constraint()));
  return ReadStream(body, form);
}

}  // namespace trireme
