// Chat and completions: read, admit, start.
#include <atomic>
#include <chrono>
#include <random>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/gateway/completion_call.h"
#include "launcher/gateway/openai_request/request_reader.h"
#include "launcher/gateway/openai_request/tool_prompt.h"
#include "launcher/gateway/routes.h"
#include "launcher/gateway/status_reply.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// Log-probabilities that one reply may hold: a body is made whole before it is sent.
constexpr int64_t kMaxLogprobsOfReply = 1 << 20;

uint64_t RandomNumber() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

struct Prepared {
  std::vector<AcceptedRequest> requests;
  ReplyForm form;
  ReplySubject subject;
};

AdmissionDefaults DefaultsOf(const std::string& id) { return {.seed = RandomNumber(), .id = id}; }

ReplySubject SubjectOf(const RouteCall& call, std::string_view kind) {
  ReplySubject subject;
  subject.id =
      absl::StrFormat("%s-%016x%08x", kind, RandomNumber(), static_cast<uint32_t>(RandomNumber()));
  subject.model = call.parts.served.dispatcher->served().name;
  subject.created = std::chrono::duration_cast<std::chrono::seconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count();
  return subject;
}

absl::Status Add(const Caller& caller, AcceptedRequest accepted, Prepared& prepared) {
  TRI_RETURN_IF_ERROR(AdmitAs(caller.key, accepted));
  const Request& request = accepted.request;
  prepared.subject.prompts.push_back({.echo = accepted.echo,
                                      .first_token = request.prompt.front(),
                                      .scored = request.prompt_logprobs});
  prepared.subject.prompt_tokens += static_cast<int64_t>(request.prompt.size());
  prepared.subject.choices_per_prompt = accepted.choices;
  prepared.requests.push_back(std::move(accepted));
  int64_t choices = 0, logprobs = 0;
  for (const AcceptedRequest& one : prepared.requests) {
    const auto scored =
        static_cast<int64_t>(one.request.prompt_logprobs ? one.request.prompt.size() : 0);
    choices += one.choices;
    logprobs +=
        (one.choices * int64_t{one.request.max_tokens} + scored) * (one.request.num_logprobs + 1);
  }
  if (choices > kMaxCompletions) {
    return absl::InvalidArgumentError(
        absl::StrFormat("n: expected at most %d completions of all prompts together; got %d",
                        kMaxCompletions, choices));
  }
  if (logprobs > kMaxLogprobsOfReply && !prepared.form.stream) {
    return absl::InvalidArgumentError(
        "logprobs: the reply would be too large; ask for a stream, for fewer, or for less");
  }
  return absl::OkStatus();
}

absl::StatusOr<Prepared> PrepareChat(const RouteCall& call) {
  if (call.parts.served.chat_format == nullptr) {
    return absl::FailedPreconditionError(
        "this model's chat format is not known here; use /v1/completions");
  }
  TRI_ASSIGN_OR_RETURN(ChatCall chat, ReadChatCall(call.exchange->request().body));
  chat.request.set_tenant(call.caller.tenant);
  if (!call.parts.served.chat_format->supports_tools()) DescribeTools(chat.request);
  Prepared prepared{.requests = {}, .form = chat.form, .subject = SubjectOf(call, "chatcmpl")};
  TRI_ASSIGN_OR_RETURN(
      AcceptedRequest accepted,
      AdmitChat(chat.request, call.parts.served.dispatcher->served(), *call.parts.served.tokenizer,
                *call.parts.served.chat_format, DefaultsOf(prepared.subject.id)));
  TRI_RETURN_IF_ERROR(Add(call.caller, std::move(accepted), prepared));
  return prepared;
}

absl::StatusOr<Prepared> PrepareCompletions(const RouteCall& call) {
  TRI_ASSIGN_OR_RETURN(CompletionsCall completions,
                       ReadCompletionsCall(call.exchange->request().body));
  Prepared prepared{.requests = {}, .form = completions.form, .subject = SubjectOf(call, "cmpl")};
  const ServedModel served = call.parts.served.dispatcher->served();
  for (v1::GenerateRequest& request : completions.requests) {
    request.set_tenant(call.caller.tenant);
    const std::string id =
        completions.requests.size() == 1
            ? prepared.subject.id
            : absl::StrFormat("%s-%d", prepared.subject.id, prepared.requests.size());
    TRI_ASSIGN_OR_RETURN(
        AcceptedRequest accepted,
        AdmitGenerate(request, served, call.parts.served.tokenizer, DefaultsOf(id)));
    TRI_RETURN_IF_ERROR(Add(call.caller, std::move(accepted), prepared));
  }
  return prepared;
}

using MakeWriter = std::unique_ptr<ReplyWriter>(const Tokenizer&, ReplyForm, ReplySubject);

void Begin(const RouteCall& call, absl::StatusOr<Prepared> prepared, MakeWriter* make_writer) {
  if (!prepared.ok()) return call.exchange->Reply(RefusalOf(prepared.status()));
  const std::string id = prepared->subject.id;
  CompletionCall::Start(
      {.served = call.parts.served, .exchange = call.exchange, .form = prepared->form, .id = id},
      prepared->requests,
      make_writer(*call.parts.served.tokenizer, prepared->form, std::move(prepared->subject)));
}

}  // namespace

void AnswerChat(RouteCall call) { Begin(call, PrepareChat(call), MakeChatWriter); }

void AnswerCompletions(RouteCall call) {
  Begin(call, PrepareCompletions(call), MakeCompletionsWriter);
}

}  // namespace trireme
