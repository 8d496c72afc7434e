#include "launcher/audit/audit_log.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "launcher/audit/audit_verify.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr off_t kMaxLineBytes = off_t{64} << 10;  // far more than names and numbers take

absl::Status Failed(std::string_view what, const std::string& file) {
  return absl::UnavailableError(
      absl::StrFormat("audit log: cannot %s %s: %s", what, file, std::strerror(errno)));
}

absl::Status Damaged(const std::string& file, std::string_view how) {
  return absl::DataLossError(
      absl::StrFormat("audit log: %s %s; see `trireme audit verify`, and move the file away to "
                      "begin another",
                      file, how));
}

// Whole lines at the end of a file, and what of an unfinished one follows them.
struct FileEnd {
  off_t whole = 0;
  off_t torn = 0;
  AuditHead head;
};

absl::StatusOr<FileEnd> LookAtEnd(int fd, const std::string& file) {
  struct stat status = {};
  if (fstat(fd, &status) != 0) return Failed("look at", file);
  FileEnd end{.whole = status.st_size};
  if (status.st_size == 0) return end;
  const off_t from = std::max<off_t>(0, status.st_size - 2 * kMaxLineBytes);
  std::string tail(static_cast<size_t>(status.st_size - from), '\0');
  if (pread(fd, tail.data(), tail.size(), from) != static_cast<ssize_t>(tail.size())) {
    return Failed("read", file);
  }
  const size_t last = tail.rfind('\n');
  end.torn = static_cast<off_t>(last == std::string::npos ? tail.size() : tail.size() - last - 1);
  end.whole -= end.torn;
  if (end.whole == 0) return end;
  const size_t before = last == 0 ? std::string::npos : tail.rfind('\n', last - 1);
  const size_t begin = before == std::string::npos ? 0 : before + 1;
  const auto link = ReadAuditLine(std::string_view(tail).substr(begin, last - begin));
  if (!link.has_value()) return Damaged(file, "ends with a line that is no audit log's");
  end.head = link->head;
  return end;
}

}  // namespace

struct AuditLog::Files {
  ~Files() {
    if (log >= 0) close(log);
    if (head >= 0) close(head);
  }
  int log = -1;
  int head = -1;
  off_t size = 0;  // of whole lines
};

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(AuditOptions options) {
  auto files = std::make_unique<Files>();
  constexpr int kFlags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
  files->log = open(options.file.c_str(), kFlags, 0600);
  if (files->log < 0) return Failed("open", options.file);
  if (flock(files->log, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "audit log: another process writes %s; give this one a file of its own", options.file));
  }
  TRI_ASSIGN_OR_RETURN(const FileEnd end, LookAtEnd(files->log, options.file));
  const std::string head_file = HeadPathOf(options.file);
  TRI_ASSIGN_OR_RETURN(const std::optional<AuditHead> noted, ReadHeadFile(head_file));
  if (noted.has_value() && noted->seq > end.head.seq) {
    return Damaged(options.file, "has lost lines at its end, which its head knows of");
  }
  if (end.torn > 0 && ftruncate(files->log, end.whole) != 0) return Failed("mend", options.file);
  files->size = end.whole;
  files->head = open(head_file.c_str(), kFlags, 0600);
  if (files->head < 0) return Failed("open", head_file);
  const int64_t torn = end.torn;
  auto log =
      std::unique_ptr<AuditLog>(new AuditLog(std::move(options), std::move(files), end.head));
  if (torn > 0) {
    log->Add({.what = "mended",
              .detail = absl::StrFormat("%d bytes of an unfinished line were cut off", torn)});
  }
  return log;
}

AuditLog::AuditLog(AuditOptions options, std::unique_ptr<Files> files, AuditHead head)
    : options_(std::move(options)),
      files_(std::move(files)),
      head_(std::move(head)),
      writer_([this](const std::stop_token& stop) { Run(stop); }) {}

AuditLog::~AuditLog() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  writer_.join();
}

void AuditLog::Add(AuditEvent event) {
  MutexLock lock(mutex_);
  if (queue_.size() >= options_.max_queue) {
    ++dropped_;
    ++unrecorded_;
    return;
  }
  queue_.push_back({.event = std::move(event), .time = options_.wall_clock(), .waiter = nullptr});
  changed_.NotifyAll();
}

absl::Status AuditLog::AddNow(AuditEvent event, Deadline deadline) {
  const auto waiter = std::make_shared<Waiter>();
  MutexLock lock(mutex_);
  // Not bounded by max_queue: operators are few, and each waits.
  queue_.push_back({.event = std::move(event), .time = options_.wall_clock(), .waiter = waiter});
  changed_.NotifyAll();
  while (!waiter->done) {
    if (changed_.WaitUntil(mutex_, deadline)) continue;
    if (waiter->done) break;
    return absl::DeadlineExceededError("audit log: the event was not written in time");
  }
  return waiter->status;
}

int64_t AuditLog::dropped() const {
  MutexLock lock(mutex_);
  return dropped_;
}

absl::Status AuditLog::health() const {
  MutexLock lock(mutex_);
  return health_;
}

void AuditLog::Run(const std::stop_token&) {
  pthread_setname_np(pthread_self(), "audit");
  while (true) {
    std::vector<Entry> batch;
    int64_t unrecorded = 0;
    bool stopping = false;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) {
        if (!unsynced_ || options_.sync == AuditSync::kNever) {
          changed_.WaitUntil(mutex_, Deadline::Never());
        } else if (!changed_.WaitUntil(mutex_, Deadline::After(options_.interval))) {
          break;
        }
      }
      batch.swap(queue_);
      unrecorded = unrecorded_;
      stopping = stopping_;
    }
    absl::Status status = broken_;
    if (status.ok() && !batch.empty()) status = Write(batch, unrecorded);
    const bool asked =
        std::ranges::any_of(batch, [](const Entry& e) { return e.waiter != nullptr; });
    if (status.ok() && unsynced_ &&
        (asked || stopping || batch.empty() || options_.sync == AuditSync::kAlways)) {
      status = Sync();
    }
    Report(batch, status, unrecorded);
    if (stopping) return;
  }
}

absl::Status AuditLog::Write(const std::vector<Entry>& batch, int64_t dropped_before) {
  AuditHead head = head_;
  std::string text;
  if (dropped_before > 0) {
    text += MakeAuditLine({.what = "dropped",
                           .detail = absl::StrFormat("%d events before this one", dropped_before)},
                          options_.wall_clock(), head) +
            "\n";
  }
  for (const Entry& entry : batch) text += MakeAuditLine(entry.event, entry.time, head) + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t wrote = pwrite(files_->log, text.data() + done, text.size() - done,
                                 files_->size + static_cast<off_t>(done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      const absl::Status failed = Failed("write", options_.file);
      // What went in before the disk was full is no line.
      if (ftruncate(files_->log, files_->size) != 0) broken_ = failed;
      return failed;
    }
    done += static_cast<size_t>(wrote);
  }
  files_->size += static_cast<off_t>(text.size());
  head_ = std::move(head);
  unsynced_ = true;
  return options_.sync == AuditSync::kNever ? WriteHead() : absl::OkStatus();
}

absl::Status AuditLog::Sync() {
  unsynced_ = false;
  // Once fsync has failed the kernel has forgotten what it could not write; a second one would say
  // that all is well.
  if (fsync(files_->log) != 0) return broken_ = Failed("sync", options_.file);
  return WriteHead();
}

absl::Status AuditLog::WriteHead() {
  const std::string printed = PrintHead(head_);
  const auto size = static_cast<ssize_t>(printed.size());
  if (pwrite(files_->head, printed.data(), printed.size(), 0) == size) return absl::OkStatus();
  return Failed("write", HeadPathOf(options_.file));
}

void AuditLog::Report(const std::vector<Entry>& batch, const absl::Status& status,
                      int64_t recorded_drops) {
  bool changed = false;
  {
    MutexLock lock(mutex_);
    changed = status.ok() != health_.ok();
    health_ = status;
    for (const Entry& entry : batch) {
      if (entry.waiter != nullptr) {
        entry.waiter->done = true;
        entry.waiter->status = status;
      } else if (!status.ok()) {
        ++dropped_;
        ++unrecorded_;
      }
    }
    if (status.ok() && !batch.empty()) unrecorded_ -= recorded_drops;
    changed_.NotifyAll();
  }
  if (changed && !status.ok()) {
    LogError("events are not recorded", {{"error", std::string(status.message())}});
  } else if (changed) {
    LogInfo("events are recorded again");
  }
}

}  // namespace trireme
