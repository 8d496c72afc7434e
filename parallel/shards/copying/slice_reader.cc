#include "parallel/shards/copying/slice_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

// Where less than a fourth of each row is wanted, caching the rest is of no use.
constexpr uint64_t kStreamedShare = 4;
// A power of two, enough for a device to stream, and small enough for a core's own cache.
constexpr uint64_t kStreamBytes = 1 << 20;
constexpr uint64_t kDirectAlignment = PartialFile::kDirectAlignment;

uint64_t Bytes(DType dtype, int64_t elements) {
  return static_cast<uint64_t>(RowBytes(dtype, elements));
}

}  // namespace

absl::StatusOr<SourceFiles> SourceFiles::Open(const TensorSource& source) {
  SourceFiles opened;
  for (const TensorEntry& entry : source.entries()) {
    SourceFile& file = opened.files_[entry.file.get()];
    if (file.cached.open()) continue;
    file.path = entry.file->path();
    file.cached = FileDescriptor(open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.cached.open()) return FileError("open", file.path, errno);
    file.direct = FileDescriptor(open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
  }
  return opened;
}

PlainReader::PlainReader(const TensorEntry& entry, const SliceLayout& slice, size_t readers,
                         const SourceFiles& files)
    : file_(files.of(entry)), region_(slice.region) {
  const Shape& whole = entry.view.shape;
  tensor_ = static_cast<uint64_t>(entry.view.data - entry.file->bytes().data());
  whole_row_ = static_cast<uint64_t>(entry.view.row_stride_bytes);
  if (slice.shape.rank() == 1) {
    // A vector is one row.
    first_byte_ = Bytes(slice.dtype, region_.rows.begin);
    run_ = row_ = Bytes(slice.dtype, region_.rows.size());
    region_.rows = {0, 1};
    return;
  }
  if (slice.shape.rank() == 3) whole_rows_ = static_cast<uint64_t>(whole[1]);
  first_byte_ = Bytes(slice.dtype, region_.columns.begin);
  run_ = row_ = Bytes(slice.dtype, region_.columns.size());
  // Whole rows follow one another.
  if (row_ == whole_row_) run_ = row_ * static_cast<uint64_t>(region_.rows.size());
  streamed_ = file_.direct.open() && readers * row_ * kStreamedShare <= whole_row_;
}

uint64_t PlainReader::PlaceOf(uint64_t offset) const {
  const uint64_t row = offset / row_;
  const auto rows = static_cast<uint64_t>(region_.rows.size());
  const uint64_t expert = static_cast<uint64_t>(region_.experts.begin) + row / rows;
  const uint64_t in_expert = static_cast<uint64_t>(region_.rows.begin) + row % rows;
  return tensor_ + (expert * whole_rows_ + in_expert) * whole_row_ + first_byte_ + offset % row_;
}

absl::Status PlainReader::Read(uint64_t offset, std::span<std::byte> out) const {
  if (streamed_) return ReadStreaming(offset, out);
  while (!out.empty()) {
    const size_t part = PartAt(offset, out.size());
    TRI_RETURN_IF_ERROR(ReadAt(file_.cached, file_.path, PlaceOf(offset), out.first(part)));
    offset += part;
    out = out.subspan(part);
  }
  return absl::OkStatus();
}

absl::Status PlainReader::ReadStreaming(uint64_t offset, std::span<std::byte> out) const {
  std::vector<std::byte> memory(kStreamBytes + kDirectAlignment);
  std::byte* aligned =
      memory.data() + -reinterpret_cast<uintptr_t>(memory.data()) % kDirectAlignment;
  while (!out.empty()) {
    const uint64_t begin = PlaceOf(offset) / kDirectAlignment * kDirectAlignment;
    const uint64_t end = PlaceOf(offset + out.size() - 1) + 1;
    // The file's last bytes come short of a whole block.
    const uint64_t wanted = std::min(
        kStreamBytes, (end - begin + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment);
    const ssize_t got = pread(file_.direct.get(), aligned, wanted, static_cast<off_t>(begin));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("read", file_.path, errno);
    const size_t picked = Pick(std::span(aligned, static_cast<size_t>(got)), begin, offset, out);
    if (picked == 0) {
      return absl::DataLossError(
          absl::StrFormat("%s ends at byte %d; expected %d", file_.path, begin + got, end));
    }
    offset += picked;
    out = out.subspan(picked);
  }
  return absl::OkStatus();
}

size_t PlainReader::Pick(std::span<const std::byte> source, uint64_t begin, uint64_t offset,
                         std::span<std::byte> out) const {
  size_t picked = 0;
  while (picked < out.size()) {
    const uint64_t place = PlaceOf(offset + picked) - begin;
    if (place >= source.size()) break;
    const size_t part =
        std::min(PartAt(offset + picked, out.size() - picked), source.size() - place);
    std::memcpy(out.data() + picked, source.data() + place, part);
    picked += part;
  }
  return picked;
}

// How many of `most` bytes from `offset` on lie together in the source.
size_t PlainReader::PartAt(uint64_t offset, size_t most) const {
  return std::min<uint64_t>(run_ - offset % run_, most);
}

}  // namespace trireme
