// Reads the slices of a checkpoint's tensors by offset, as a shard stores them: row by row, and
// expert by expert. Through file descriptors and not the mapping, so that what is read does not
// count as resident.
//
// Columns that are a small part of each row are picked from whole rows that were read past the page
// cache: a tp=8 slice of Llama 4's experts is 2 KiB of every 32 KiB, and its pages one by one cost
// more than all of them in a stream. Whatever else is read stays in the page cache, where the next
// rank finds it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "parallel/shards/durable_file.h"
#include "parallel/shards/shard_layout.h"
#include "runtime/base/mapped_file.h"
#include "runtime/checkpoint/tensor_source.h"

namespace trireme {

// A file of a checkpoint, opened for reading.
struct SourceFile {
  std::string path;
  FileDescriptor cached;
  FileDescriptor direct;  // past the page cache; not open where that cannot be
};

class SourceFiles {
 public:
  // Those that hold tensors. FileError's codes.
  static absl::StatusOr<SourceFiles> Open(const TensorSource& source);

  const SourceFile& of(const TensorEntry& entry) const { return files_.at(entry.file.get()); }

 private:
  std::map<const MappedFile*, SourceFile> files_;
};

// The bytes of a slice, in the order in which a rank file stores them. Any number of threads may
// read.
class SliceReader {
 public:
  virtual ~SliceReader() = default;

  // Where in its file the source of byte `offset` of the slice is.
  virtual uint64_t PlaceOf(uint64_t offset) const = 0;

  // Bytes [offset, offset + out.size()) of the slice. DATA_LOSS when the file has become shorter.
  virtual absl::Status Read(uint64_t offset, std::span<std::byte> out) const = 0;
};

// A slice as the checkpoint has it. The entry and the files must outlive it.
class PlainReader final : public SliceReader {
 public:
  // `readers` ranks read slices of this size of the tensor.
  PlainReader(const TensorEntry& entry, const SliceLayout& slice, size_t readers,
              const SourceFiles& files);

  uint64_t PlaceOf(uint64_t offset) const override;
  absl::Status Read(uint64_t offset, std::span<std::byte> out) const override;

 private:
  size_t PartAt(uint64_t offset, size_t most) const;
  // Copies the rows' parts that lie in bytes [begin, begin + source.size()) of the file, from
  // `offset` of the slice on; returns how much of `out` that filled.
  size_t Pick(std::span<const std::byte> source, uint64_t begin, uint64_t offset,
              std::span<std::byte> out) const;
  absl::Status ReadStreaming(uint64_t offset, std::span<std::byte> out) const;

  const SourceFile& file_;
  Slice region_;
  uint64_t tensor_ = 0;      // where the tensor begins in its file
  uint64_t whole_row_ = 0;   // bytes from a row of the source to the next
  uint64_t whole_rows_ = 0;  // rows of an expert in the source
  uint64_t first_byte_ = 0;  // of the slice, in a row of the source
  uint64_t row_ = 0;         // bytes of a row of the slice
  uint64_t run_ = 0;         // bytes that lie together in slice and source
  bool streamed_ = false;    // by whole rows, past the page cache
};

}  // namespace trireme
