// Files that are whole or not there, even when the writer is killed or the machine loses power.
//
// A small file is written under another name, synced, then renamed. A rank file is too large to
// start over, so it grows under "NAME.partial" beside a journal ("NAME.journal") of the chunks that
// are surely on disk:
//
//   trireme shard journal 1 <identity> <bytes> <chunk bytes>
//   <chunk's offset> <sha256>
//
// A line is appended only after the data it speaks of was synced, and on resumption a chunk counts
// only if its bytes still hash to the line, so neither a torn line nor a torn chunk is believed.
// The journal goes last, after the manifest that names the file is in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

// Owns an open file.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// `error` is an errno: RESOURCE_EXHAUSTED for a full disk, quota or file-size limit, NOT_FOUND,
// PERMISSION_DENIED, else UNAVAILABLE (the device's fault).
absl::Status FileError(std::string_view doing, const std::string& path, int error);

// Exactly out.size() bytes; DATA_LOSS when the file ends before.
absl::Status ReadAt(const FileDescriptor& file, const std::string& path, uint64_t offset,
                    std::span<std::byte> out);

absl::Status SyncDirectory(const std::string& directory);

// The file has either its old content or all of `text`.
absl::Status WriteFileDurably(const std::string& path, std::string_view text);

// One writer a directory, among the machines that share it too: a file that is locked while the
// object lives, and unlocked by the kernel when its process dies.
class DirectoryLock {
 public:
  // FAILED_PRECONDITION when another process holds it.
  static absl::StatusOr<DirectoryLock> Take(const std::string& directory);
  DirectoryLock(DirectoryLock&&) = default;
  DirectoryLock& operator=(DirectoryLock&&) = delete;
  ~DirectoryLock();

 private:
  DirectoryLock(std::string path, FileDescriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}
  std::string path_;
  FileDescriptor file_;
};

class PartialFile {
 public:
  static constexpr uint64_t kDirectAlignment = 4096;

  struct Plan {
    std::string path;      // the final name
    std::string identity;  // of the set the file belongs to
    uint64_t bytes = 0;    // of the whole file
    uint64_t chunk_bytes = 0;
  };

  static std::string PartialPath(const std::string& path) { return path + ".partial"; }
  static std::string JournalPath(const std::string& path) { return path + ".journal"; }

  // FAILED_PRECONDITION when an earlier run left a partial file of another set in the directory.
  static absl::Status CheckLeftovers(const std::string& directory, const std::string& identity);

  // Takes up what an earlier run left, or begins; reserves the file's whole size. What was left in
  // other chunks is written again.
  static absl::StatusOr<PartialFile> Open(Plan plan);

  // What the journal says of the chunk that begins at `offset`: a digest to be checked, or "".
  std::string JournaledDigest(uint64_t offset) const;

  // Any thread may call these two, for bytes that no other thread writes.
  absl::Status Read(uint64_t offset, std::span<std::byte> out) const;
  // Bytes that lie in memory as in the file, modulo kDirectAlignment, go past the page cache where
  // the file system can: half the CPU, and a sync that finds little left to do.
  absl::Status Write(uint64_t offset, std::span<const std::byte> bytes) const;
  // The journal's line for a chunk that is written.
  static std::string ChunkLine(uint64_t offset, const std::string& sha256);
  // Syncs the data, then journals the lines of chunks that were written before the call. One thread
  // at a time.
  absl::Status Commit(std::string_view lines);
  // Syncs the file and gives it its final name. The journal stays.
  absl::Status Finish();

 private:
  PartialFile() = default;
  absl::Status LoadJournal();
  absl::Status Reserve();
  absl::Status WriteCached(uint64_t offset, std::span<const std::byte> bytes) const;
  // How many of the bytes were written; what the file system or device does not take directly is
  // left to WriteCached.
  uint64_t WriteDirectly(uint64_t offset, std::span<const std::byte> bytes) const;

  Plan plan_;
  FileDescriptor data_;
  FileDescriptor direct_;  // the same file past the page cache; not open where that cannot be
  FileDescriptor journal_;
  std::map<uint64_t, std::string> journaled_;  // offset → digest
};

}  // namespace trireme
