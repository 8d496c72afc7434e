// Runs batches, one after the other: each line of the input is a request to a route of this
// gateway, a few at a time, answered into a file of the same tenant. Lines that the engine has no
// room for wait and are tried again; lines that are refused are answered with their error. A batch
// that the program's end interrupts begins again with the next start.
//
// Threads: `batch`, and kLinesAtOnce more while a batch runs.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "launcher/gateway/batches/batch_store.h"
#include "launcher/gateway/http/exchange.h"
#include "runtime/base/mutex.h"

namespace trireme {

class BatchRunner {
 public:
  // The route's function of that path, as if `tenant` had sent the request.
  using Answer = std::function<void(const std::string& path, const std::string& tenant,
                                    std::shared_ptr<Exchange> exchange)>;

  // `store` must outlive it. Takes up what was left unfinished.
  BatchRunner(BatchStore& store, Answer answer);
  ~BatchRunner();  // interrupts what runs

  // Checks the input, then queues it: INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED. The batch as
  // clients are shown it.
  absl::StatusOr<Json> Begin(const std::string& tenant, const std::string& input_file,
                             const std::string& endpoint, Json metadata);
  absl::StatusOr<Json> Cancel(const std::string& tenant, const std::string& batch)
      ABSL_LOCKS_EXCLUDED(mutex_);

  static constexpr size_t kMaxLines = 50'000;
  static constexpr int kLinesAtOnce = 8;

 private:
  struct Line {
    std::string custom_id;
    std::string body;
  };

  static absl::StatusOr<std::vector<Line>> ParseLines(const std::string& content,
                                                      const std::string& endpoint);
  void Work();
  void RunBatch(const std::string& id, const std::string& tenant) ABSL_LOCKS_EXCLUDED(mutex_);
  // A line of the output; "" where it was interrupted.
  std::string RunLine(const Line& line, const Json& batch, const std::string& tenant, bool& failed);
  void Finish(const std::string& id, const std::string& tenant, bool cancelled,
              const std::vector<std::string>& outputs, const std::vector<std::string>& errors);
  bool Interrupted() const ABSL_LOCKS_EXCLUDED(mutex_);

  BatchStore& store_;
  const Answer answer_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<std::pair<std::string, std::string>> queue_ ABSL_GUARDED_BY(mutex_);
  std::string running_ ABSL_GUARDED_BY(mutex_);
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;  // the one that runs
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace trireme
