// Uploaded files and batches, in a directory that outlives the program: for each a record in JSON
// (what clients are shown, and whose it is), for files the content beside it. Bounded in number and
// in bytes. A tenant sees its own: to it, others' do not exist.
//
// Any thread; files are written under the lock, so calls may take as long as the disk does.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launcher/gateway/openai_request/json_fields.h"
#include "runtime/base/mutex.h"

namespace trireme {

class BatchStore {
 public:
  enum class Kind { kFile, kBatch };

  // Makes the directory. Records that cannot be read are left alone and named in the log.
  static absl::StatusOr<std::unique_ptr<BatchStore>> Open(std::string directory, size_t max_bytes);

  // The new file's record. RESOURCE_EXHAUSTED where there is no room.
  absl::StatusOr<Json> AddFile(const std::string& tenant, std::string_view filename,
                               std::string_view purpose, std::string_view content)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Json> AddBatch(const std::string& tenant, Json batch) ABSL_LOCKS_EXCLUDED(mutex_);

  // NOT_FOUND, also where it is another tenant's.
  absl::StatusOr<Json> Find(Kind kind, const std::string& tenant, const std::string& id) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Oldest first.
  std::vector<Json> List(Kind kind, const std::string& tenant) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::string> Content(const std::string& tenant, const std::string& id) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status DeleteFile(const std::string& tenant, const std::string& id)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Json> UpdateBatch(const std::string& id, const std::function<void(Json&)>& change)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // (id, tenant) of batches that have not ended, oldest first: the program was stopped.
  std::vector<std::pair<std::string, std::string>> Unfinished() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Record {
    std::string tenant;
    int64_t order = 0;
    Json shown;
  };

  BatchStore(std::string directory, size_t max_bytes)
      : directory_(std::move(directory)), max_bytes_(max_bytes) {}
  void Load() ABSL_LOCKS_EXCLUDED(mutex_);
  const Record* Lookup(Kind kind, const std::string& tenant, const std::string& id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Save(const std::string& id, const Record& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string PathOf(const std::string& id, std::string_view suffix) const;

  const std::string directory_;
  const size_t max_bytes_;
  mutable Mutex mutex_;
  std::map<std::string, Record> records_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of files' contents
  int64_t last_order_ ABSL_GUARDED_BY(mutex_) = 0;
};

inline constexpr size_t kMaxBatchRecords = 10'000;

// Seconds since 1970.
int64_t NowSeconds();

}  // namespace trireme
