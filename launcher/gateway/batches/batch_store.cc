#include "launcher/gateway/batches/batch_store.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "absl/strings/str_format.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRecordSuffix = ".json";
constexpr std::string_view kContentSuffix = ".jsonl";

std::string RandomId(std::string_view prefix) {
  std::random_device device;
  return absl::StrFormat("%s%08x%08x%08x", prefix, device(), device(), device());
}

bool IsOfKind(const Json& shown, BatchStore::Kind kind) {
  return shown.value("object", "") == (kind == BatchStore::Kind::kFile ? "file" : "batch");
}

bool Ended(const Json& batch) {
  const std::string status = batch.value("status", "");
  return status == "completed" || status == "failed" || status == "cancelled";
}

// Whole or not at all.
absl::Status WriteFile(const std::string& path, std::string_view content) {
  const std::string unfinished = path + ".part";
  std::ofstream file(unfinished, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  std::error_code error;
  if (file) fs::rename(unfinished, path, error);
  if (file && !error) return absl::OkStatus();
  fs::remove(unfinished, error);
  return absl::UnavailableError("the server cannot store this now; try again later");
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

absl::Status NotThere() { return absl::NotFoundError("there is nothing of this id"); }

}  // namespace

int64_t NowSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

absl::StatusOr<std::unique_ptr<BatchStore>> BatchStore::Open(std::string directory,
                                                             size_t max_bytes) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (!fs::is_directory(directory, error)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("http.batch_directory: cannot make %s", directory));
  }
  fs::permissions(directory, fs::perms::owner_all, error);
  auto store = std::unique_ptr<BatchStore>(new BatchStore(std::move(directory), max_bytes));
  store->Load();
  return store;
}

void BatchStore::Load() {
  MutexLock lock(mutex_);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    if (entry.path().extension() != kRecordSuffix) continue;
    const Json stored = Json::parse(ReadFile(entry.path()), nullptr, /*allow_exceptions=*/false);
    const std::string id = entry.path().stem();
    const Json* shown = FindField(stored, "shown");
    const Json* tenant = FindField(stored, "tenant");
    const Json* order = FindField(stored, "order");
    if (shown == nullptr || tenant == nullptr || !tenant->is_string() || order == nullptr ||
        !order->is_number_integer() || shown->value("id", "") != id) {
      LogWarning("a record of a batch cannot be read", {{"file", entry.path().string()}});
      continue;
    }
    const uintmax_t size = fs::file_size(PathOf(id, kContentSuffix), error);
    if (!error) bytes_ += size;
    last_order_ = std::max(last_order_, order->get<int64_t>());
    records_[id] = {
        .tenant = tenant->get<std::string>(), .order = order->get<int64_t>(), .shown = *shown};
  }
}

std::string BatchStore::PathOf(const std::string& id, std::string_view suffix) const {
  return absl::StrFormat("%s/%s%s", directory_, id, suffix);
}

absl::Status BatchStore::Save(const std::string& id, const Record& record) {
  Json stored;
  stored["tenant"] = record.tenant;
  stored["order"] = record.order;
  stored["shown"] = record.shown;
  return WriteFile(PathOf(id, kRecordSuffix), Dump(stored));
}

absl::StatusOr<Json> BatchStore::AddFile(const std::string& tenant, std::string_view filename,
                                         std::string_view purpose, std::string_view content) {
  MutexLock lock(mutex_);
  if (bytes_ + content.size() > max_bytes_ || records_.size() >= kMaxBatchRecords) {
    return absl::ResourceExhaustedError("the server stores no more files; delete some of them");
  }
  const std::string id = RandomId("file-");
  Record record{.tenant = tenant, .order = ++last_order_, .shown = Json::object()};
  record.shown = {{"id", id},
                  {"object", "file"},
                  {"bytes", content.size()},
                  {"created_at", NowSeconds()},
                  {"filename", std::string(filename)},
                  {"purpose", std::string(purpose)},
                  {"status", "processed"}};
  TRI_RETURN_IF_ERROR(WriteFile(PathOf(id, kContentSuffix), content));
  TRI_RETURN_IF_ERROR(Save(id, record));
  bytes_ += content.size();
  Json shown = record.shown;
  records_[id] = std::move(record);
  return shown;
}

absl::StatusOr<Json> BatchStore::AddBatch(const std::string& tenant, Json batch) {
  MutexLock lock(mutex_);
  if (records_.size() >= kMaxBatchRecords) {
    return absl::ResourceExhaustedError("the server keeps no more batches");
  }
  const std::string id = RandomId("batch_");
  batch["id"] = id;
  Record record{.tenant = tenant, .order = ++last_order_, .shown = std::move(batch)};
  TRI_RETURN_IF_ERROR(Save(id, record));
  Json shown = record.shown;
  records_[id] = std::move(record);
  return shown;
}

const BatchStore::Record* BatchStore::Lookup(Kind kind, const std::string& tenant,
                                             const std::string& id) const {
  const auto found = records_.find(id);
  if (found == records_.end() || found->second.tenant != tenant ||
      !IsOfKind(found->second.shown, kind)) {
    return nullptr;
  }
  return &found->second;
}

absl::StatusOr<Json> BatchStore::Find(Kind kind, const std::string& tenant,
                                      const std::string& id) const {
  MutexLock lock(mutex_);
  const Record* record = Lookup(kind, tenant, id);
  if (record == nullptr) return NotThere();
  return record->shown;
}

std::vector<Json> BatchStore::List(Kind kind, const std::string& tenant) const {
  MutexLock lock(mutex_);
  std::vector<const Record*> mine;
  for (const auto& [id, record] : records_) {
    if (record.tenant == tenant && IsOfKind(record.shown, kind)) mine.push_back(&record);
  }
  std::ranges::sort(mine, {}, &Record::order);
  std::vector<Json> shown;
  for (const Record* record : mine) shown.push_back(record->shown);
  return shown;
}

absl::StatusOr<std::string> BatchStore::Content(const std::string& tenant,
                                                const std::string& id) const {
  MutexLock lock(mutex_);
  if (Lookup(Kind::kFile, tenant, id) == nullptr) return NotThere();
  return ReadFile(PathOf(id, kContentSuffix));
}

absl::Status BatchStore::DeleteFile(const std::string& tenant, const std::string& id) {
  MutexLock lock(mutex_);
  const Record* record = Lookup(Kind::kFile, tenant, id);
  if (record == nullptr) return NotThere();
  std::error_code ignored;
  fs::remove(PathOf(id, kRecordSuffix), ignored);
  fs::remove(PathOf(id, kContentSuffix), ignored);
  bytes_ -= std::min(bytes_, record->shown.value("bytes", size_t{0}));
  records_.erase(id);
  return absl::OkStatus();
}

absl::StatusOr<Json> BatchStore::UpdateBatch(const std::string& id,
                                             const std::function<void(Json&)>& change) {
  MutexLock lock(mutex_);
  const auto found = records_.find(id);
  if (found == records_.end()) return NotThere();
  change(found->second.shown);
  TRI_RETURN_IF_ERROR(Save(id, found->second));
  return found->second.shown;
}

std::vector<std::pair<std::string, std::string>> BatchStore::Unfinished() const {
  MutexLock lock(mutex_);
  std::map<int64_t, std::pair<std::string, std::string>> unfinished;
  for (const auto& [id, record] : records_) {
    if (!IsOfKind(record.shown, Kind::kBatch) || Ended(record.shown)) continue;
    unfinished[record.order] = {id, record.tenant};
  }
  std::vector<std::pair<std::string, std::string>> in_order;
  for (auto& [order, batch] : unfinished) in_order.push_back(std::move(batch));
  return in_order;
}

}  // namespace trireme
