// Parts of a request in both of their forms: messages, as clients and links write them, and the
// runtime's structs. Pure conversions; what may be in them is admission's business.
#pragma once

#include <vector>

#include "google/protobuf/map.h"
#include "runtime/engine/request.h"
#include "trireme/v1/inference.pb.h"

namespace trireme {

// Absent fields take their default.
SamplingParams FromProto(const v1::SamplingParams& sampling);
// Every field set.
v1::SamplingParams ToProto(const SamplingParams& params);

GrammarSpec FromProto(const v1::Constraint& constraint);
v1::Constraint ToProto(const GrammarSpec& grammar);

// In order of token.
std::vector<TokenBias> BiasesOf(const google::protobuf::Map<int32_t, float>& logit_bias);

}  // namespace trireme
