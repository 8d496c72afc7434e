// /v1/files and /v1/batches.
#include <algorithm>

#include "launcher/gateway/batches/batch_runner.h"
#include "launcher/gateway/batches/batch_store.h"
#include "launcher/gateway/batches/multipart.h"
#include "launcher/gateway/routes.h"
#include "launcher/gateway/status_reply.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using Kind = BatchStore::Kind;

constexpr size_t kMaxPage = 100;

void Answer(const RouteCall& call, const absl::StatusOr<Json>& reply) {
  if (reply.ok()) return ReplyJson(*call.exchange, *reply);
  call.exchange->Reply(RefusalOf(reply.status()));
}

// False, with a reply, where this server keeps no batches.
bool Kept(const RouteCall& call) {
  if (call.parts.batches != nullptr) return true;
  call.exchange->Reply(RefusalOf(absl::UnimplementedError(
      "files and batches are off here; the operator sets http.batch_directory")));
  return false;
}

absl::StatusOr<Json> Upload(const RouteCall& call) {
  const HttpRequest& request = call.exchange->request();
  const std::string* type = request.Header("content-type");
  TRI_ASSIGN_OR_RETURN(const std::vector<FormPart> parts,
                       ParseForm(type == nullptr ? "" : *type, request.body));
  const FormPart *file = nullptr, *purpose = nullptr;
  for (const FormPart& part : parts) {
    if (part.name == "file") file = &part;
    if (part.name == "purpose") purpose = &part;
  }
  if (file == nullptr) return WrongField("file", "a file");
  if (purpose == nullptr || purpose->content != "batch") return WrongField("purpose", "batch");
  const std::string name = file->filename.substr(0, 256);
  return call.parts.batches->AddFile(call.caller.tenant, name, "batch", file->content);
}

// Newest first, from the one after `after` on.
Json Page(const RouteCall& call, Kind kind) {
  std::vector<Json> all = call.parts.batches->List(kind, call.caller.tenant);
  std::ranges::reverse(all);
  const HttpRequest& request = call.exchange->request();
  const std::string_view after = request.QueryValue("after");
  const std::string limit_text(request.QueryValue("limit"));
  const auto limit =
      limit_text.empty()
          ? kMaxPage
          : std::clamp(static_cast<size_t>(std::max(0, std::atoi(limit_text.c_str()))), size_t{1},
                       kMaxPage);
  auto begin = all.begin();
  if (!after.empty()) {
    begin =
        std::ranges::find_if(all, [&](const Json& one) { return one.value("id", "") == after; });
    if (begin != all.end()) ++begin;
  }
  const auto count = std::min(limit, static_cast<size_t>(all.end() - begin));
  Json page = {
      {"object", "list"}, {"data", Json::array()}, {"first_id", nullptr}, {"last_id", nullptr}};
  for (size_t i = 0; i < count; ++i) page["data"].push_back(*(begin + static_cast<ptrdiff_t>(i)));
  if (count > 0) {
    page["first_id"] = page["data"].front()["id"];
    page["last_id"] = page["data"].back()["id"];
  }
  page["has_more"] = begin + static_cast<ptrdiff_t>(count) != all.end();
  return page;
}

absl::StatusOr<Json> Create(const RouteCall& call) {
  TRI_ASSIGN_OR_RETURN(const Json body, ParseBody(call.exchange->request().body));
  std::string file, endpoint, window = "24h";
  TRI_RETURN_IF_ERROR(ReadText(body, "input_file_id", file));
  TRI_RETURN_IF_ERROR(ReadText(body, "endpoint", endpoint));
  TRI_RETURN_IF_ERROR(ReadText(body, "completion_window", window));
  if (window != "24h") return WrongField("completion_window", "24h");
  const Json* metadata = FindField(body, "metadata");
  if (metadata != nullptr &&
      (!metadata->is_object() || metadata->size() > 16 || Dump(*metadata).size() > 16 << 10)) {
    return WrongField("metadata", "an object of at most 16 texts");
  }
  return call.parts.runner->Begin(call.caller.tenant, file, endpoint,
                                  metadata == nullptr ? Json() : *metadata);
}

}  // namespace

void AnswerUpload(RouteCall call) {
  if (Kept(call)) Answer(call, Upload(call));
}

void AnswerFiles(RouteCall call) {
  if (Kept(call)) Answer(call, Page(call, Kind::kFile));
}

void AnswerFile(RouteCall call) {
  if (Kept(call)) Answer(call, call.parts.batches->Find(Kind::kFile, call.caller.tenant, call.id));
}

void AnswerFileContent(RouteCall call) {
  if (!Kept(call)) return;
  auto content = call.parts.batches->Content(call.caller.tenant, call.id);
  if (!content.ok()) return call.exchange->Reply(RefusalOf(content.status()));
  call.exchange->Reply({.content_type = "application/octet-stream", .body = *std::move(content)});
}

void AnswerDeleteFile(RouteCall call) {
  if (!Kept(call)) return;
  const absl::Status status = call.parts.batches->DeleteFile(call.caller.tenant, call.id);
  if (!status.ok()) return call.exchange->Reply(RefusalOf(status));
  Answer(call, Json{{"id", call.id}, {"object", "file"}, {"deleted", true}});
}

void AnswerCreateBatch(RouteCall call) {
  if (Kept(call)) Answer(call, Create(call));
}

void AnswerBatches(RouteCall call) {
  if (Kept(call)) Answer(call, Page(call, Kind::kBatch));
}

void AnswerBatch(RouteCall call) {
  if (Kept(call)) Answer(call, call.parts.batches->Find(Kind::kBatch, call.caller.tenant, call.id));
}

void AnswerCancelBatch(RouteCall call) {
  if (Kept(call)) Answer(call, call.parts.runner->Cancel(call.caller.tenant, call.id));
}

}  // namespace trireme
