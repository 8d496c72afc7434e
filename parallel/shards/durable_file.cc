#include "parallel/shards/durable_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "absl/strings/str_format.h"
#include "parallel/sha256.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/strict_json.h"

namespace trireme {
namespace {

// About 100 bytes a 64 MiB chunk: a journal of this size would speak of a file of 40 TB.
constexpr uint64_t kMaxJournalBytes = 64 << 20;

std::string DirectoryOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

absl::StatusOr<FileDescriptor> OpenForWriting(const std::string& path, int flags) {
  FileDescriptor file(open(path.c_str(), flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file.open()) return FileError("create", path, errno);
  return file;
}

absl::Status WriteAll(const FileDescriptor& file, const std::string& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", path, errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status Rename(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return FileError("rename", from, errno);
  return SyncDirectory(DirectoryOf(to));
}

std::string JournalHead(const PartialFile::Plan& plan) {
  return absl::StrFormat("trireme shard journal 1 %s %d %d", plan.identity, plan.bytes,
                         plan.chunk_bytes);
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) close(fd_);
}

absl::Status FileError(std::string_view doing, const std::string& path, int error) {
  const std::string message =
      absl::StrFormat("cannot %s %s: %s", doing, path, std::strerror(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::ResourceExhaustedError(message + "; free space and run the same command again");
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::PermissionDeniedError(message);
    case ELOOP:
    case EISDIR:
      return absl::FailedPreconditionError(message);
    default:
      return absl::UnavailableError(message);
  }
}

absl::Status ReadAt(const FileDescriptor& file, const std::string& path, uint64_t offset,
                    std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = pread(file.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("read", path, errno);
    if (got == 0) {
      return absl::DataLossError(
          absl::StrFormat("%s ends at byte %d; expected %d more", path, offset, out.size()));
    }
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& directory) {
  const FileDescriptor file(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file.open() || fsync(file.get()) != 0) return FileError("sync", directory, errno);
  return absl::OkStatus();
}

absl::Status WriteFileDurably(const std::string& path, std::string_view text) {
  const std::string temporary = path + ".new";
  TRI_ASSIGN_OR_RETURN(const FileDescriptor file, OpenForWriting(temporary, O_WRONLY | O_TRUNC));
  TRI_RETURN_IF_ERROR(WriteAll(file, temporary, text));
  if (fsync(file.get()) != 0) return FileError("sync", temporary, errno);
  return Rename(temporary, path);
}

absl::StatusOr<DirectoryLock> DirectoryLock::Take(const std::string& directory) {
  const std::string path = directory + "/.shard.lock";
  // Whoever held the lock may delete the file between our opening and our locking it.
  for (int attempt = 0; attempt < 100; ++attempt) {
    TRI_ASSIGN_OR_RETURN(FileDescriptor file, OpenForWriting(path, O_RDWR));
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return FileError("lock", path, errno);
      break;
    }
    struct stat held {
    }, named{};
    if (fstat(file.get(), &held) == 0 && stat(path.c_str(), &named) == 0 &&
        held.st_ino == named.st_ino && held.st_dev == named.st_dev) {
      return DirectoryLock(path, std::move(file));
    }
  }
  return absl::FailedPreconditionError(absl::StrFormat(
      "%s is being written by another trireme shard; wait for it to end", directory));
}

DirectoryLock::~DirectoryLock() {
  if (file_.open()) unlink(path_.c_str());
}

absl::Status PartialFile::CheckLeftovers(const std::string& directory,
                                         const std::string& identity) {
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string path = entry->path().string();
    if (!path.ends_with(JournalPath(""))) continue;
    TRI_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxJournalBytes));
    const std::string head = text.substr(0, text.find('\n'));
    // A head that was not written out says nothing, and nothing after it is believed.
    if (head.size() == text.size() || head.find(identity) != std::string::npos) continue;
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s holds an unfinished shard of another model or mesh (%s); choose another --out, or "
        "delete the directory",
        directory, entry->path().filename().string()));
  }
  if (error) return FileError("list", directory, error.value());
  return absl::OkStatus();
}

absl::StatusOr<PartialFile> PartialFile::Open(Plan plan) {
  PartialFile file;
  file.plan_ = std::move(plan);
  const std::string& path = file.plan_.path;
  const std::string partial = PartialPath(path);
  TRI_ASSIGN_OR_RETURN(file.journal_, OpenForWriting(JournalPath(path), O_RDWR | O_APPEND));
  TRI_RETURN_IF_ERROR(file.LoadJournal());
  // The run before ended between this file's last byte and the manifest: take the name back, so
  // that nothing unverified wears it.
  if (!file.journaled_.empty() && access(partial.c_str(), F_OK) != 0 &&
      access(path.c_str(), F_OK) == 0) {
    TRI_RETURN_IF_ERROR(Rename(path, partial));
  }
  TRI_ASSIGN_OR_RETURN(file.data_, OpenForWriting(partial, O_RDWR));
  file.direct_ =
      FileDescriptor(open(partial.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECT));
  TRI_RETURN_IF_ERROR(file.Reserve());
  return file;
}

absl::Status PartialFile::LoadJournal() {
  const std::string path = JournalPath(plan_.path);
  TRI_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxJournalBytes));
  std::istringstream lines(text);
  std::string line;
  const std::string head = JournalHead(plan_);
  const bool whole = std::getline(lines, line) && !lines.eof();
  if (!whole || line != head) {
    if (ftruncate(journal_.get(), 0) != 0) return FileError("truncate", path, errno);
    return WriteAll(journal_, path, head + "\n");
  }
  while (std::getline(lines, line) && !lines.eof()) {
    std::istringstream fields(line);
    uint64_t offset = 0;
    std::string digest;
    if (fields >> offset >> digest && IsSha256Hex(digest)) journaled_[offset] = digest;
  }
  // A torn last line must not swallow the next one.
  if (!text.ends_with('\n')) return WriteAll(journal_, path, "\n");
  return absl::OkStatus();
}

absl::Status PartialFile::Reserve() {
  const std::string path = PartialPath(plan_.path);
  const auto bytes = static_cast<off_t>(plan_.bytes);
  // A longer leftover would keep bytes beyond the end.
  struct stat status {};
  if (fstat(data_.get(), &status) != 0) return FileError("inspect", path, errno);
  if (status.st_size > bytes && ftruncate(data_.get(), bytes) != 0) {
    return FileError("truncate", path, errno);
  }
  if (bytes == 0 || fallocate(data_.get(), 0, 0, bytes) == 0) return absl::OkStatus();
  if (errno != EOPNOTSUPP && errno != ENOSYS) return FileError("reserve space for", path, errno);
  if (ftruncate(data_.get(), bytes) != 0) return FileError("extend", path, errno);
  return absl::OkStatus();
}

std::string PartialFile::JournaledDigest(uint64_t offset) const {
  const auto found = journaled_.find(offset);
  return found == journaled_.end() ? "" : found->second;
}

absl::Status PartialFile::Read(uint64_t offset, std::span<std::byte> out) const {
  return ReadAt(data_, PartialPath(plan_.path), offset, out);
}

absl::Status PartialFile::Write(uint64_t offset, std::span<const std::byte> bytes) const {
  const uint64_t head = std::min<uint64_t>(-offset % kDirectAlignment, bytes.size());
  const uint64_t middle = (bytes.size() - head) / kDirectAlignment * kDirectAlignment;
  const bool aligned =
      reinterpret_cast<uintptr_t>(bytes.data() + head) % kDirectAlignment == 0 && middle > 0;
  if (!direct_.open() || !aligned) return WriteCached(offset, bytes);
  TRI_RETURN_IF_ERROR(WriteCached(offset, bytes.first(head)));
  const uint64_t done = head + WriteDirectly(offset + head, bytes.subspan(head, middle));
  return WriteCached(offset + done, bytes.subspan(done));
}

uint64_t PartialFile::WriteDirectly(uint64_t offset, std::span<const std::byte> bytes) const {
  uint64_t done = 0;
  while (done < bytes.size()) {
    const ssize_t written = pwrite(direct_.get(), bytes.data() + done, bytes.size() - done,
                                   static_cast<off_t>(offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0 || static_cast<uint64_t>(written) % kDirectAlignment != 0) break;
    done += static_cast<uint64_t>(written);
  }
  return done;
}

absl::Status PartialFile::WriteCached(uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t written =
        pwrite(data_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", PartialPath(plan_.path), errno);
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

std::string PartialFile::ChunkLine(uint64_t offset, const std::string& sha256) {
  return absl::StrFormat("%d %s\n", offset, sha256);
}

absl::Status PartialFile::Commit(std::string_view lines) {
  if (lines.empty()) return absl::OkStatus();
  if (fdatasync(data_.get()) != 0) return FileError("sync", PartialPath(plan_.path), errno);
  // Written once, read much later: the page cache has better use.
  posix_fadvise(data_.get(), 0, 0, POSIX_FADV_DONTNEED);
  const std::string path = JournalPath(plan_.path);
  TRI_RETURN_IF_ERROR(WriteAll(journal_, path, lines));
  if (fdatasync(journal_.get()) != 0) return FileError("sync", path, errno);
  return absl::OkStatus();
}

absl::Status PartialFile::Finish() {
  if (fsync(data_.get()) != 0) return FileError("sync", PartialPath(plan_.path), errno);
  return Rename(PartialPath(plan_.path), plan_.path);
}

}  // namespace trireme
