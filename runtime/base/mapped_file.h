// A read-only memory-mapped file: pages are read when touched, so opening costs nothing whatever
// the size. The file's identity (device, inode, size, mtime) is held from the moment of opening, so
// that a file replaced or resized underneath is reported by name instead of being read as garbage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

class MappedFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED or FAILED_PRECONDITION (not a regular file), naming the path.
  // An empty file maps to an empty span.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // FAILED_PRECONDITION if the path now names another file, or its size or mtime changed.
  absl::Status CheckUnchanged() const;

  // Tells the kernel that [offset, offset + length) will not be needed again (streaming readers
  // keep their resident set small with it).
  void DropPages(uint64_t offset, uint64_t length) const;

  // Whether touching a page may read its neighbours too (up to megabytes, by the machine's
  // settings), as is the default.
  void ReadAhead(bool ahead) const;

 private:
  MappedFile() = default;

  std::string path_;
  const std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  uint64_t device_ = 0;
  uint64_t inode_ = 0;
  int64_t mtime_ns_ = 0;
};

// A mapped file that shrinks raises SIGBUS on the next touch. This handler says which file and
// offset it was and ends the process with `exit_code`. Called once by main.
void InstallMappedFileFaultHandler(int exit_code);

}  // namespace trireme
