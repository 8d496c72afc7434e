// The head of a GGUF file: a magic, a version, two counts, then key → typed value pairs (model
// sizes, the tokenizer's vocabulary, the chat template), after which the tensor entries begin.
//
//   "GGUF" | u32 version | u64 tensors | u64 pairs | pairs… | tensor entries… | padding | tensor
//   bytes pair   = string key | u32 type | value        string = u64 length | bytes array  = u32
//   element type | u64 count | elements (no arrays of arrays here)
//
// Everything is little-endian and untrusted: each length, count and type is checked against the
// file's size before use. Parsing keeps an index of where values lie (bounded by kMaxPairs); a
// value is decoded when asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace trireme {

// The numbers are the file's own.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

class GgufMetadata {
 public:
  static constexpr uint64_t kMaxPairs = uint64_t{1} << 16;
  static constexpr uint64_t kMaxKeyBytes = 65535;  // the format's own limit

  // Where a value lies. For arrays `type` is kArray, and `element_type` and `count` say of what.
  struct Pair {
    std::string_view key;
    GgufType type = GgufType::kUint8;
    GgufType element_type = GgufType::kUint8;
    uint64_t count = 1;
    uint64_t offset = 0;  // of the first element, in bytes from the start of the file
  };

  // `file` is the whole file and must outlive this object and every string_view it returns. `name`
  // (a path) opens every error message. INVALID_ARGUMENT for a malformed file, UNIMPLEMENTED for
  // another version.
  static absl::StatusOr<GgufMetadata> Parse(std::span<const std::byte> file, std::string name);

  uint32_t version() const { return version_; }
  uint64_t tensor_count() const { return tensor_count_; }
  // Where the metadata ends and the tensor entries begin.
  uint64_t tensors_offset() const { return tensors_offset_; }
  // In the file's order; keys are unique.
  const std::vector<Pair>& pairs() const { return pairs_; }

  // nullptr when there is no such key.
  const Pair* Find(std::string_view key) const;

  // Typed reads: NOT_FOUND when the key is absent, INVALID_ARGUMENT when it holds something else.
  // Integers of any width and sign are read by GetInteger (INVALID_ARGUMENT past int64), either
  // float by GetFloat.
  absl::StatusOr<std::string_view> GetString(std::string_view key) const;
  absl::StatusOr<int64_t> GetInteger(std::string_view key) const;
  absl::StatusOr<double> GetFloat(std::string_view key) const;
  absl::StatusOr<bool> GetBool(std::string_view key) const;
  absl::StatusOr<std::vector<std::string_view>> GetStrings(std::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetIntegers(std::string_view key) const;
  absl::StatusOr<std::vector<double>> GetFloats(std::string_view key) const;

  // A whole GGUF file with the same metadata and no tensors: what a shard directory keeps of its
  // source.
  std::string CopyWithoutTensors() const;

 private:
  enum class Kind { kValue, kArray };

  absl::Status IndexKeys();
  absl::StatusOr<const Pair*> FindOfKind(std::string_view key, Kind kind) const;
  absl::Status TypeError(const Pair& pair, std::string_view expected) const;
  template <typename T>
  T Load(uint64_t offset) const;
  absl::StatusOr<int64_t> IntegerAt(const Pair& pair, GgufType type, uint64_t offset) const;
  absl::StatusOr<double> FloatAt(const Pair& pair, GgufType type, uint64_t offset) const;
  std::string_view StringAt(uint64_t offset) const;

  std::span<const std::byte> file_;
  std::string name_;
  uint32_t version_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t tensors_offset_ = 0;
  std::vector<Pair> pairs_;
  std::vector<uint32_t> by_key_;  // indices of pairs_, sorted by key
};

// "uint32", "string", …; "type 99" for a number that is none.
std::string GgufTypeName(GgufType type);

}  // namespace trireme
