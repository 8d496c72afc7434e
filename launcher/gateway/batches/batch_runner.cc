#include "launcher/gateway/batches/batch_runner.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/gateway/batches/captured_exchange.h"
#include "launcher/gateway/limits.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr std::chrono::milliseconds kRetryPause{500};
constexpr int64_t kDay = 86'400;

// The engine had no room, or no group was there: of no meaning for the request.
bool MayComeLater(int status) { return status == 429 || status == 503; }

std::string Joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) {
    if (!line.empty()) text.append(line).append("\n");
  }
  return text;
}

}  // namespace

BatchRunner::BatchRunner(BatchStore& store, Answer answer)
    : store_(store), answer_(std::move(answer)) {
  for (auto& batch : store_.Unfinished()) queue_.push_back(std::move(batch));
  thread_ = std::jthread([this] {
    pthread_setname_np(pthread_self(), "batch");
    Work();
  });
}

BatchRunner::~BatchRunner() {
  MutexLock lock(mutex_);
  stopping_ = true;
  changed_.NotifyAll();
}

absl::StatusOr<std::vector<BatchRunner::Line>> BatchRunner::ParseLines(
    const std::string& content, const std::string& endpoint) {
  std::vector<Line> lines;
  std::set<std::string> ids;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view text(content.data() + at, end - at);
    at = end + 1;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (lines.size() == kMaxLines) return WrongField("input_file", "at most 50000 lines");
    const auto json = ParseBody(text);
    const std::string where = absl::StrFormat("input_file line %d", lines.size() + 1);
    if (!json.ok()) return WrongField(where, std::string(json.status().message()));
    Line line;
    std::string method, url;
    TRI_RETURN_IF_ERROR(ReadText(*json, "custom_id", line.custom_id));
    TRI_RETURN_IF_ERROR(ReadText(*json, "method", method));
    TRI_RETURN_IF_ERROR(ReadText(*json, "url", url));
    if (method != "POST") return WrongField(where, "method POST");
    if (url != endpoint) return WrongField(where, "the url of the batch's endpoint");
    if (line.custom_id.empty() || line.custom_id.size() > 512 ||
        !ids.insert(line.custom_id).second) {
      return WrongField(where, "a custom_id of its own, of 1 to 512 bytes");
    }
    const Json* body = FindField(*json, "body");
    bool stream = false;
    if (body == nullptr || !body->is_object()) return WrongField(where, "a body");
    TRI_RETURN_IF_ERROR(ReadBool(*body, "stream", stream));
    if (stream) return WrongField(where, "no stream");
    line.body = Dump(*body);
    lines.push_back(std::move(line));
  }
  if (lines.empty()) return WrongField("input_file", "at least one line");
  return lines;
}

absl::StatusOr<Json> BatchRunner::Begin(const std::string& tenant, const std::string& input_file,
                                        const std::string& endpoint, Json metadata) {
  if (endpoint != "/v1/chat/completions" && endpoint != "/v1/completions") {
    return WrongField("endpoint", "/v1/chat/completions or /v1/completions");
  }
  TRI_ASSIGN_OR_RETURN(const std::string content, store_.Content(tenant, input_file));
  TRI_ASSIGN_OR_RETURN(const std::vector<Line> lines, ParseLines(content, endpoint));
  const int64_t now = NowSeconds();
  Json batch = {{"id", ""},
                {"object", "batch"},
                {"endpoint", endpoint},
                {"errors", nullptr},
                {"input_file_id", input_file},
                {"completion_window", "24h"},
                {"status", "validating"},
                {"output_file_id", nullptr},
                {"error_file_id", nullptr},
                {"created_at", now},
                {"in_progress_at", nullptr},
                {"expires_at", now + kDay},
                {"completed_at", nullptr},
                {"cancelled_at", nullptr}};
  batch["request_counts"] = {{"total", lines.size()}, {"completed", 0}, {"failed", 0}};
  batch["metadata"] = std::move(metadata);
  TRI_ASSIGN_OR_RETURN(batch, store_.AddBatch(tenant, std::move(batch)));
  MutexLock lock(mutex_);
  queue_.emplace_back(batch["id"].get<std::string>(), tenant);
  changed_.NotifyAll();
  return batch;
}

absl::StatusOr<Json> BatchRunner::Cancel(const std::string& tenant, const std::string& id) {
  TRI_ASSIGN_OR_RETURN(const Json batch, store_.Find(BatchStore::Kind::kBatch, tenant, id));
  MutexLock lock(mutex_);
  if (running_ == id) {
    cancelled_ = true;
    changed_.NotifyAll();
    return store_.UpdateBatch(id, [](Json& shown) { shown["status"] = "cancelling"; });
  }
  if (std::erase_if(queue_, [&](const auto& queued) { return queued.first == id; }) == 0) {
    return batch;  // it has ended
  }
  return store_.UpdateBatch(id, [](Json& shown) {
    shown["status"] = "cancelled";
    shown["cancelled_at"] = NowSeconds();
  });
}

bool BatchRunner::Interrupted() const {
  MutexLock lock(mutex_);
  return stopping_ || cancelled_;
}

void BatchRunner::Work() {
  while (true) {
    std::pair<std::string, std::string> next;
    {
      MutexLock lock(mutex_);
      running_.clear();
      while (!stopping_ && queue_.empty()) changed_.WaitUntil(mutex_, Deadline::Never());
      if (stopping_) return;
      next = std::move(queue_.front());
      queue_.pop_front();
      running_ = next.first;
      cancelled_ = false;
    }
    RunBatch(next.first, next.second);
  }
}

void BatchRunner::RunBatch(const std::string& id, const std::string& tenant) {
  const auto batch = store_.UpdateBatch(id, [](Json& shown) {
    shown["status"] = "in_progress";
    shown["in_progress_at"] = NowSeconds();
  });
  if (!batch.ok()) return;
  absl::StatusOr<std::vector<Line>> lines;
  if (auto content = store_.Content(tenant, batch->value("input_file_id", "")); content.ok()) {
    lines = ParseLines(*content, batch->value("endpoint", ""));
  } else {
    lines = content.status();
  }
  if (!lines.ok()) {
    store_
        .UpdateBatch(id,
                     [](Json& shown) {
                       shown["status"] = "failed";
                       shown["failed_at"] = NowSeconds();
                     })
        .IgnoreError();
    return;
  }
  std::vector<std::string> outputs(lines->size()), errors(lines->size());
  std::atomic<size_t> next = 0;
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < kLinesAtOnce; ++i) {
      workers.emplace_back([&] {
        for (size_t line = next++; line < lines->size() && !Interrupted(); line = next++) {
          bool failed = false;
          std::string text = RunLine((*lines)[line], *batch, tenant, failed);
          (failed ? errors : outputs)[line] = std::move(text);
        }
      });
    }
  }
  bool cancelled = false;
  {
    MutexLock lock(mutex_);
    if (stopping_) return;  // it begins again with the next start
    cancelled = cancelled_;
  }
  Finish(id, tenant, cancelled, outputs, errors);
}

std::string BatchRunner::RunLine(const Line& line, const Json& batch, const std::string& tenant,
                                 bool& failed) {
  const std::string path = batch.value("endpoint", "");
  while (true) {
    const auto exchange = std::make_shared<CapturedExchange>(
        HttpRequest{.method = "POST", .path = path, .body = line.body});
    answer_(path, tenant, exchange);
    const std::optional<HttpResponse> reply = exchange->Wait([this] { return Interrupted(); });
    if (!reply.has_value()) return "";
    if (MayComeLater(reply->status)) {
      MutexLock lock(mutex_);
      const Deadline pause = Deadline::After(kRetryPause);
      while (!stopping_ && !cancelled_ && changed_.WaitUntil(mutex_, pause)) {
      }
      if (stopping_ || cancelled_) return "";
      continue;
    }
    failed = reply->status != 200;
    Json body = Json::parse(reply->body, nullptr, /*allow_exceptions=*/false);
    Json output;
    output["id"] = "batch_req_" + line.custom_id;
    output["custom_id"] = line.custom_id;
    output["response"] = {{"status_code", reply->status},
                          {"request_id", body.value("id", "")},
                          {"body", std::move(body)}};
    output["error"] = nullptr;
    return Dump(output);
  }
}

void BatchRunner::Finish(const std::string& id, const std::string& tenant, bool cancelled,
                         const std::vector<std::string>& outputs,
                         const std::vector<std::string>& errors) {
  const auto store = [&](std::string_view name, const std::vector<std::string>& lines) -> Json {
    const std::string text = Joined(lines);
    if (text.empty()) return nullptr;
    const auto file =
        store_.AddFile(tenant, absl::StrFormat("%s_%s.jsonl", id, name), "batch_output", text);
    if (file.ok()) return (*file)["id"];
    LogWarning("a batch's output cannot be stored", {{"batch", id}});
    return nullptr;
  };
  const auto count = [](const std::vector<std::string>& lines) {
    return std::ranges::count_if(lines, [](const std::string& line) { return !line.empty(); });
  };
  const Json output = store("output", outputs);
  const Json error = store("error", errors);
  const bool lost =
      (output.is_null() && count(outputs) > 0) || (error.is_null() && count(errors) > 0);
  const std::string status = cancelled ? "cancelled" : lost ? "failed" : "completed";
  store_
      .UpdateBatch(id,
                   [&](Json& shown) {
                     shown["status"] = status;
                     shown[status + "_at"] = NowSeconds();
                     shown["output_file_id"] = output;
                     shown["error_file_id"] = error;
                     shown["request_counts"]["completed"] = count(outputs);
                     shown["request_counts"]["failed"] = count(errors);
                   })
      .IgnoreError();
}

}  // namespace trireme
