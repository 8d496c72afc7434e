#include "launcher/request/submit.h"

#include "launcher/request/params_proto.h"

namespace trireme {

v1::Submit ToSubmit(uint64_t number, const Request& request) {
  v1::Submit submit;
  submit.set_request(number);
  submit.mutable_prompt()->Add(request.prompt.begin(), request.prompt.end());
  submit.set_max_tokens(request.max_tokens);
  submit.set_min_tokens(request.min_tokens);
  *submit.mutable_sampling() = ToProto(request.sampling);
  for (const TokenBias& bias : request.logit_bias) {
    (*submit.mutable_logit_bias())[bias.token] = bias.bias;
  }
  submit.set_sequence(request.sequence);
  submit.set_first_draw(request.first_draw);
  submit.mutable_stop_tokens()->Add(request.stop_tokens.begin(), request.stop_tokens.end());
  submit.mutable_stop()->Add(request.stop_strings.begin(), request.stop_strings.end());
  if (request.grammar.constrained()) *submit.mutable_constraint() = ToProto(request.grammar);
  submit.set_num_logprobs(request.num_logprobs);
  submit.set_prompt_logprobs(request.prompt_logprobs);
  submit.set_priority(request.priority);
  submit.set_tenant(request.tenant);
  return submit;
}

Request ToRequest(const v1::Submit& submit) {
  Request request;
  request.prompt.assign(submit.prompt().begin(), submit.prompt().end());
  request.max_tokens = submit.max_tokens();
  request.min_tokens = submit.min_tokens();
  request.sampling = FromProto(submit.sampling());
  request.logit_bias = BiasesOf(submit.logit_bias());
  request.sequence = submit.sequence();
  request.first_draw = submit.first_draw();
  request.stop_tokens.assign(submit.stop_tokens().begin(), submit.stop_tokens().end());
  request.stop_strings.assign(submit.stop().begin(), submit.stop().end());
  request.grammar = FromProto(submit.constraint());
  request.num_logprobs = submit.num_logprobs();
  request.prompt_logprobs = submit.prompt_logprobs();
  request.priority = submit.priority();
  request.tenant = submit.tenant();
  return request;
}

}  // namespace trireme
