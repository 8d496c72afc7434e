#include "launcher/request/params_proto.h"

#include <algorithm>

namespace trireme {

SamplingParams FromProto(const v1::SamplingParams& sampling) {
  SamplingParams params;
  if (sampling.has_temperature()) params.temperature = sampling.temperature();
  if (sampling.has_top_k()) params.top_k = sampling.top_k();
  if (sampling.has_top_p()) params.top_p = sampling.top_p();
  if (sampling.has_min_p()) params.min_p = sampling.min_p();
  if (sampling.has_seed()) params.seed = sampling.seed();
  if (sampling.has_repetition_penalty()) params.repetition_penalty = sampling.repetition_penalty();
  if (sampling.has_frequency_penalty()) params.frequency_penalty = sampling.frequency_penalty();
  if (sampling.has_presence_penalty()) params.presence_penalty = sampling.presence_penalty();
  return params;
}

v1::SamplingParams ToProto(const SamplingParams& params) {
  v1::SamplingParams sampling;
  sampling.set_temperature(params.temperature);
  sampling.set_top_k(params.top_k);
  sampling.set_top_p(params.top_p);
  sampling.set_min_p(params.min_p);
  sampling.set_seed(params.seed);
  sampling.set_repetition_penalty(params.repetition_penalty);
  sampling.set_frequency_penalty(params.frequency_penalty);
  sampling.set_presence_penalty(params.presence_penalty);
  return sampling;
}

GrammarSpec FromProto(const v1::Constraint& constraint) {
  using Kind = GrammarSpec::Kind;
  switch (constraint.kind_case()) {
    case v1::Constraint::kJsonObject:
      return {.kind = constraint.json_object() ? Kind::kJsonObject : Kind::kNone,
              .text = {},
              .choices = {}};
    case v1::Constraint::kJsonSchema:
      return {.kind = Kind::kJsonSchema, .text = constraint.json_schema(), .choices = {}};
    case v1::Constraint::kRegex:
      return {.kind = Kind::kRegex, .text = constraint.regex(), .choices = {}};
    case v1::Constraint::kChoices:
      return {
          .kind = Kind::kChoice,
          .text = {},
          .choices = {constraint.choices().values().begin(), constraint.choices().values().end()}};
    case v1::Constraint::KIND_NOT_SET:
      break;
  }
  return {};
}

v1::Constraint ToProto(const GrammarSpec& grammar) {
  v1::Constraint constraint;
  switch (grammar.kind) {
    case GrammarSpec::Kind::kNone:
      break;
    case GrammarSpec::Kind::kJsonObject:
      constraint.set_json_object(true);
      break;
    case GrammarSpec::Kind::kJsonSchema:
      constraint.set_json_schema(grammar.text);
      break;
    case GrammarSpec::Kind::kRegex:
      constraint.set_regex(grammar.text);
      break;
    case GrammarSpec::Kind::kChoice:
      constraint.mutable_choices()->mutable_values()->Add(grammar.choices.begin(),
                                                          grammar.choices.end());
      break;
  }
  return constraint;
}

std::vector<TokenBias> BiasesOf(const google::protobuf::Map<int32_t, float>& logit_bias) {
  std::vector<TokenBias> biases;
  for (const auto& [token, bias] : logit_bias) biases.push_back({.token = token, .bias = bias});
  std::ranges::sort(biases, {}, &TokenBias::token);
  return biases;
}

}  // namespace trireme
