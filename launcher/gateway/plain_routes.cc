// Routes that answer at once: probes, metrics, models, tokens.
#include <algorithm>

#include "absl/strings/str_format.h"
#include "launcher/gateway/openai_request/json_fields.h"
#include "launcher/gateway/openai_request/shared_fields.h"
#include "launcher/gateway/routes.h"
#include "launcher/gateway/status_reply.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

bool Ready(const GatewayParts& parts) {
  return std::ranges::any_of(parts.served.dispatcher->Groups(), &GroupSnapshot::ready);
}

absl::Status NotReady() { return absl::UnavailableError("no worker group is ready; try again"); }

Json ModelJson(const ServedModel& model, int64_t created) {
  return {{"id", model.name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "trireme"},
          {"max_model_len", model.max_positions}};
}

int64_t StartSeconds() {
  static const int64_t start = std::chrono::duration_cast<std::chrono::seconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count();
  return start;
}

absl::StatusOr<Json> Tokenize(const RouteCall& call) {
  TRI_ASSIGN_OR_RETURN(const Json body, ParseBody(call.exchange->request().body));
  const Json* prompt = FindField(body, "prompt");
  if (prompt == nullptr || !prompt->is_string()) return WrongField("prompt", "text");
  // The text of a special token is that token, as other servers have it; prompts never are read so.
  TRI_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                       call.parts.served.tokenizer->Encode(prompt->get_ref<const std::string&>(),
                                                           SpecialTokens::kParse));
  return Json{{"tokens", ids},
              {"count", ids.size()},
              {"max_model_len", call.parts.served.dispatcher->served().max_positions}};
}

absl::StatusOr<Json> Detokenize(const RouteCall& call) {
  TRI_ASSIGN_OR_RETURN(const Json body, ParseBody(call.exchange->request().body));
  const Json* tokens = FindField(body, "tokens");
  if (tokens == nullptr) return WrongField("tokens", "a list of token ids");
  google::protobuf::RepeatedField<int32_t> ids;
  TRI_RETURN_IF_ERROR(ReadTokenIds(*tokens, "tokens", ids));
  const int32_t vocabulary = call.parts.served.tokenizer->vocab_size();
  if (std::ranges::any_of(ids, [&](int32_t id) { return id >= vocabulary; })) {
    return WrongField("tokens", absl::StrFormat("ids from 0 to %d", vocabulary - 1));
  }
  return Json{{"prompt",
               call.parts.served.tokenizer->Decode({ids.data(), static_cast<size_t>(ids.size())})}};
}

void Answer(const RouteCall& call, const absl::StatusOr<Json>& reply) {
  if (reply.ok()) return ReplyJson(*call.exchange, *reply);
  call.exchange->Reply(RefusalOf(reply.status()));
}

}  // namespace

void AnswerHealth(RouteCall call) {
  call.exchange->Reply({.content_type = "text/plain", .body = "ok\n"});
}

void AnswerReady(RouteCall call) {
  if (!Ready(call.parts)) return call.exchange->Reply(RefusalOf(NotReady()));
  call.exchange->Reply({.content_type = "text/plain", .body = "ready\n"});
}

void AnswerMetrics(RouteCall call) {
  if (!call.parts.metrics) {
    return call.exchange->Reply(RefusalOf(absl::UnimplementedError("nothing is measured here")));
  }
  call.exchange->Reply(
      {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = call.parts.metrics()});
}

// Load generators poll this to learn whether they may begin, so it is no before it is yes.
void AnswerModels(RouteCall call) {
  if (!Ready(call.parts)) return Answer(call, NotReady());
  Json models = Json::array();
  models.push_back(ModelJson(call.parts.served.dispatcher->served(), StartSeconds()));
  Answer(call, Json{{"object", "list"}, {"data", std::move(models)}});
}

void AnswerModel(RouteCall call) {
  const ServedModel model = call.parts.served.dispatcher->served();
  if (call.id != model.name) {
    return Answer(call, absl::NotFoundError("model: no model of this name is served here"));
  }
  Answer(call, ModelJson(model, StartSeconds()));
}

// What evaluation harnesses ask for that have no tokenizer of their own.
void AnswerTokenizer(RouteCall call) {
  const Tokenizer& tokenizer = *call.parts.served.tokenizer;
  const auto text = [&](const std::optional<int32_t>& id) -> Json {
    return id.has_value() ? Json(std::string(tokenizer.TokenBytes(*id))) : Json();
  };
  Answer(call, Json{{"bos_token", text(tokenizer.bos())},
                    {"eos_token", text(tokenizer.eos())},
                    {"vocab_size", tokenizer.vocab_size()},
                    {"chat_template", tokenizer.chat_template()}});
}

void AnswerTokenize(RouteCall call) { Answer(call, Tokenize(call)); }

void AnswerDetokenize(RouteCall call) { Answer(call, Detokenize(call)); }

}  // namespace trireme
