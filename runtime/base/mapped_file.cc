#include "runtime/base/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_format.h"

namespace trireme {
namespace {

// What the SIGBUS handler can see: fixed slots, because a handler may neither lock nor allocate.
struct MappingSlot {
  std::atomic<const std::byte*> begin{nullptr};
  std::atomic<uint64_t> size{0};
  std::array<char, 512> path{};
};
std::array<MappingSlot, 4096> mapping_slots;
std::atomic<int> fault_exit_code{1};

void Register(const std::byte* begin, uint64_t size, const std::string& path) {
  for (MappingSlot& slot : mapping_slots) {
    const std::byte* expected = nullptr;
    if (!slot.begin.compare_exchange_strong(expected, begin)) continue;
    std::strncpy(slot.path.data(), path.c_str(), slot.path.size() - 1);
    slot.size.store(size, std::memory_order_release);
    return;
  }
}

void Unregister(const std::byte* begin) {
  for (MappingSlot& slot : mapping_slots) {
    if (slot.begin.load() != begin) continue;
    slot.size.store(0);
    slot.begin.store(nullptr);
    return;
  }
}

// Async-signal-safe: write(2) and _exit(2) only.
void WriteText(const char* text) {
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::strlen(text));
}

void WriteNumber(uint64_t value) {
  std::array<char, 24> digits{};
  size_t at = digits.size() - 1;
  do {
    digits[--at] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  WriteText(&digits[at]);
}

void OnBusError(int, siginfo_t* info, void*) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  for (const MappingSlot& slot : mapping_slots) {
    const std::byte* begin = slot.begin.load();
    const uint64_t size = slot.size.load(std::memory_order_acquire);
    if (begin == nullptr || address < begin || address >= begin + size) continue;
    WriteText("E mapped file shrank or failed to read file=");
    WriteText(slot.path.data());
    WriteText(" offset=");
    WriteNumber(static_cast<uint64_t>(address - begin));
    WriteText("; restore the file and start again\n");
    _exit(fault_exit_code.load());
  }
  WriteText("E bus error outside any mapped file\n");
  signal(SIGBUS, SIG_DFL);
  raise(SIGBUS);
}

absl::Status OpenError(const std::string& path, int error) {
  const std::string message = absl::StrFormat("cannot open %s: %s", path, std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(message);
  if (error == EACCES || error == EPERM) return absl::PermissionDeniedError(message);
  return absl::FailedPreconditionError(message);
}

int64_t ModifiedNs(const struct stat& status) {
  return static_cast<int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return OpenError(path, errno);
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(fd);
    return absl::FailedPreconditionError(absl::StrFormat("%s is not a regular file", path));
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->size_ = static_cast<uint64_t>(status.st_size);
  file->device_ = status.st_dev;
  file->inode_ = status.st_ino;
  file->mtime_ns_ = ModifiedNs(status);
  if (file->size_ > 0) {
    void* data = mmap(nullptr, file->size_, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
      const int error = errno;
      close(fd);
      return absl::ResourceExhaustedError(
          absl::StrFormat("cannot map %s (%d bytes): %s", path, file->size_, std::strerror(error)));
    }
    file->data_ = static_cast<const std::byte*>(data);
    Register(file->data_, file->size_, path);
  }
  close(fd);
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  Unregister(data_);
  munmap(const_cast<std::byte*>(data_), size_);
}

absl::Status MappedFile::CheckUnchanged() const {
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) return OpenError(path_, errno);
  if (status.st_dev == device_ && status.st_ino == inode_ &&
      static_cast<uint64_t>(status.st_size) == size_ && ModifiedNs(status) == mtime_ns_) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrFormat(
      "%s changed while it was open: expected %d bytes and the same inode and mtime, found %d bytes",
      path_, size_, static_cast<uint64_t>(status.st_size)));
}

void MappedFile::DropPages(uint64_t offset, uint64_t length) const {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = offset / page * page;
  if (data_ == nullptr || begin >= size_) return;
  const uint64_t end = std::min(offset + length, size_);
  madvise(const_cast<std::byte*>(data_ + begin), end - begin, MADV_DONTNEED);
}

void MappedFile::ReadAhead(bool ahead) const {
  if (data_ == nullptr) return;
  madvise(const_cast<std::byte*>(data_), size_, ahead ? MADV_NORMAL : MADV_RANDOM);
}

void InstallMappedFileFaultHandler(int exit_code) {
  fault_exit_code = exit_code;
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace trireme
