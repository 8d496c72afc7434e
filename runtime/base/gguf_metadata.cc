#include "runtime/base/gguf_metadata.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/checked_math.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr uint64_t kTensorCountOffset = 8;
// An empty key's length, a type and a one-byte value: no pair is smaller.
constexpr uint64_t kSmallestPair = 8 + 4 + 1;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF is read in place");

// Bytes of a fixed-width value; 0 for strings, arrays and numbers that are no type.
uint64_t Width(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

// Reads in order, refusing to pass the end. `where` names what is being read, for the message.
class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& name) : file_(file), name_(name) {}

  uint64_t offset() const { return offset_; }
  uint64_t left() const { return file_.size() - offset_; }

  template <typename T>
  absl::StatusOr<T> Read(const std::string& where) {
    if (left() < sizeof(T)) return Truncated(where, sizeof(T));
    T value;
    std::memcpy(&value, file_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string_view> ReadString(const std::string& where) {
    TRI_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(where));
    if (length > left()) return Truncated(where, length);
    const std::string_view text(reinterpret_cast<const char*>(file_.data()) + offset_, length);
    offset_ += length;
    return text;
  }

  absl::Status Skip(uint64_t bytes, const std::string& where) {
    if (bytes > left()) return Truncated(where, bytes);
    offset_ += bytes;
    return absl::OkStatus();
  }

  absl::Status Truncated(const std::string& where, uint64_t needed) const {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: truncated or malformed GGUF: %s at offset %d needs %d bytes, the file has %d left; "
        "fetch the file again",
        name_, where, offset_, needed, left()));
  }

 private:
  std::span<const std::byte> file_;
  const std::string& name_;
  uint64_t offset_ = 0;
};

// Moves past the elements of an array, checking that they lie in the file.
absl::Status SkipArray(Reader& reader, const GgufMetadata::Pair& pair, const std::string& where) {
  if (pair.element_type == GgufType::kString) {
    if (pair.count > reader.left() / 8) return reader.Truncated(where, pair.count);
    for (uint64_t i = 0; i < pair.count; ++i) {
      TRI_RETURN_IF_ERROR(reader.ReadString(where).status());
    }
    return absl::OkStatus();
  }
  const uint64_t width = Width(pair.element_type);
  const auto bytes = CheckedMul(pair.count, width);
  if (width == 0 || !bytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is an array of %d values of %s; expected a fixed-width type or strings, and a count "
        "that fits the file",
        where, pair.count, GgufTypeName(pair.element_type)));
  }
  return reader.Skip(*bytes, where);
}

absl::Status ReadPair(Reader& reader, const std::string& name, GgufMetadata::Pair& pair) {
  TRI_ASSIGN_OR_RETURN(pair.key, reader.ReadString("a metadata key"));
  if (pair.key.empty() || pair.key.size() > GgufMetadata::kMaxKeyBytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: GGUF metadata key of %d bytes before offset %d; expected 1 to %d",
                        name, pair.key.size(), reader.offset(), GgufMetadata::kMaxKeyBytes));
  }
  const std::string where = absl::StrFormat("%s: metadata key \"%s\"", name, Printable(pair.key));
  TRI_ASSIGN_OR_RETURN(const uint32_t type, reader.Read<uint32_t>(where));
  pair.type = static_cast<GgufType>(type);
  if (pair.type == GgufType::kArray) {
    TRI_ASSIGN_OR_RETURN(const uint32_t element_type, reader.Read<uint32_t>(where));
    pair.element_type = static_cast<GgufType>(element_type);
    TRI_ASSIGN_OR_RETURN(pair.count, reader.Read<uint64_t>(where));
    pair.offset = reader.offset();
    return SkipArray(reader, pair, where);
  }
  pair.offset = reader.offset();
  if (pair.type == GgufType::kString) return reader.ReadString(where).status();
  const uint64_t width = Width(pair.type);
  if (width == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s has %s; expected a GGUF value type (0 to 12)", where, GgufTypeName(pair.type)));
  }
  return reader.Skip(width, where);
}

}  // namespace

std::string GgufTypeName(GgufType type) {
  constexpr const char* kNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                    "int32",  "float32", "bool",   "string", "array",
                                    "uint64", "int64",   "float64"};
  const auto number = static_cast<uint32_t>(type);
  if (number < std::size(kNames)) return kNames[number];
  return absl::StrFormat("type %d", number);
}

absl::StatusOr<GgufMetadata> GgufMetadata::Parse(std::span<const std::byte> file,
                                                 std::string name) {
  GgufMetadata metadata;
  metadata.file_ = file;
  metadata.name_ = std::move(name);
  if (file.size() < 4 || std::memcmp(file.data(), "GGUF", 4) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s is not a GGUF file: expected it to begin with \"GGUF\"", metadata.name_));
  }
  Reader reader(file, metadata.name_);
  TRI_RETURN_IF_ERROR(reader.Skip(4, "the magic"));
  TRI_ASSIGN_OR_RETURN(metadata.version_, reader.Read<uint32_t>("the version"));
  if (metadata.version_ != 2 && metadata.version_ != 3) {
    const bool swapped = metadata.version_ != 0 && (metadata.version_ & 0xffff) == 0;
    return absl::UnimplementedError(absl::StrFormat(
        "%s has GGUF version %d%s; expected little-endian version 2 or 3: convert it again",
        metadata.name_, metadata.version_, swapped ? " (a big-endian file?)" : ""));
  }
  TRI_ASSIGN_OR_RETURN(metadata.tensor_count_, reader.Read<uint64_t>("the tensor count"));
  TRI_ASSIGN_OR_RETURN(const uint64_t pair_count, reader.Read<uint64_t>("the metadata count"));
  if (pair_count > kMaxPairs || pair_count > reader.left() / kSmallestPair) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s claims %d metadata pairs; at most %d are accepted and the %d bytes that follow can "
        "hold %d",
        metadata.name_, pair_count, kMaxPairs, reader.left(), reader.left() / kSmallestPair));
  }
  metadata.pairs_.resize(pair_count);
  for (Pair& pair : metadata.pairs_) {
    TRI_RETURN_IF_ERROR(ReadPair(reader, metadata.name_, pair));
  }
  metadata.tensors_offset_ = reader.offset();
  TRI_RETURN_IF_ERROR(metadata.IndexKeys());
  return metadata;
}

absl::Status GgufMetadata::IndexKeys() {
  by_key_.resize(pairs_.size());
  std::iota(by_key_.begin(), by_key_.end(), 0U);
  std::sort(by_key_.begin(), by_key_.end(),
            [this](uint32_t a, uint32_t b) { return pairs_[a].key < pairs_[b].key; });
  for (size_t i = 1; i < by_key_.size(); ++i) {
    if (pairs_[by_key_[i]].key != pairs_[by_key_[i - 1]].key) continue;
    return absl::InvalidArgumentError(absl::StrFormat("%s: metadata key \"%s\" occurs twice", name_,
                                                      Printable(pairs_[by_key_[i]].key)));
  }
  return absl::OkStatus();
}

const GgufMetadata::Pair* GgufMetadata::Find(std::string_view key) const {
  const auto at =
      std::lower_bound(by_key_.begin(), by_key_.end(), key,
                       [this](uint32_t i, std::string_view k) { return pairs_[i].key < k; });
  if (at == by_key_.end() || pairs_[*at].key != key) return nullptr;
  return &pairs_[*at];
}

absl::StatusOr<const GgufMetadata::Pair*> GgufMetadata::FindOfKind(std::string_view key,
                                                                   Kind kind) const {
  const Pair* pair = Find(key);
  if (pair == nullptr) {
    return absl::NotFoundError(
        absl::StrFormat("%s has no metadata key \"%s\"", name_, Printable(key)));
  }
  if ((pair->type == GgufType::kArray) != (kind == Kind::kArray)) {
    return TypeError(*pair, kind == Kind::kArray ? "an array" : "a single value");
  }
  return pair;
}

absl::Status GgufMetadata::TypeError(const Pair& pair, std::string_view expected) const {
  const bool array = pair.type == GgufType::kArray;
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: metadata key \"%s\" holds %s%s; expected %s", name_, Printable(pair.key),
      array ? "an array of " : "", GgufTypeName(array ? pair.element_type : pair.type), expected));
}

template <typename T>
T GgufMetadata::Load(uint64_t offset) const {
  T value;
  std::memcpy(&value, file_.data() + offset, sizeof(T));
  return value;
}

absl::StatusOr<int64_t> GgufMetadata::IntegerAt(const Pair& pair, GgufType type,
                                                uint64_t offset) const {
  switch (type) {
    case GgufType::kUint8:
      return Load<uint8_t>(offset);
    case GgufType::kInt8:
      return Load<int8_t>(offset);
    case GgufType::kUint16:
      return Load<uint16_t>(offset);
    case GgufType::kInt16:
      return Load<int16_t>(offset);
    case GgufType::kUint32:
      return Load<uint32_t>(offset);
    case GgufType::kInt32:
      return Load<int32_t>(offset);
    case GgufType::kInt64:
      return Load<int64_t>(offset);
    case GgufType::kUint64: {
      const auto value = Load<uint64_t>(offset);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return TypeError(pair, absl::StrFormat("an integer below 2^63, found %d", value));
      }
      return static_cast<int64_t>(value);
    }
    default:
      return TypeError(pair, "an integer");
  }
}

absl::StatusOr<double> GgufMetadata::FloatAt(const Pair& pair, GgufType type,
                                             uint64_t offset) const {
  if (type == GgufType::kFloat32) return Load<float>(offset);
  if (type == GgufType::kFloat64) return Load<double>(offset);
  return TypeError(pair, "a float");
}

std::string_view GgufMetadata::StringAt(uint64_t offset) const {
  // Parse has checked that the string lies in the file.
  return {reinterpret_cast<const char*>(file_.data()) + offset + 8, Load<uint64_t>(offset)};
}

absl::StatusOr<std::string_view> GgufMetadata::GetString(std::string_view key) const {
  TRI_ASSIGN_OR_RETURN(const Pair* pair, FindOfKind(key, Kind::kValue));
  if (pair->type != GgufType::kString) return TypeError(*pair, "a string");
  return StringAt(pair->offset);
}

absl::StatusOr<int64_t> GgufMetadata::GetInteger(std::string_view key) const {
  TRI_ASSIGN_OR_RETURN(const Pair* pair, FindOfKind(key, Kind::kValue));
  return IntegerAt(*pair, pair->type, pair->offset);
}

absl::StatusOr<double> GgufMetadata::GetFloat(std::string_view key) const {
  TRI_ASSIGN_OR_RETURN(const Pair* pair, FindOfKind(key, Kind::kValue));
  return FloatAt(*pair, pair->type, pair->offset);
}

absl::StatusOr<bool> GgufMetadata::GetBool(std::string_view key) const {
  TRI_ASSIGN_OR_RETURN(const Pair* pair, FindOfKind(key, Kind::kValue));
  if (pair->type != GgufType::kBool) return TypeError(*pair, "a bool");
  const auto value = Load<uint8_t>(pair->offset);
  if (value > 1) return TypeError(*pair, absl::StrFormat("0 or 1, found %d", value));
  return value == 1;
}

absl::StatusOr<std::vector<std::string_view>> GgufMetadata::GetStrings(std::string_view key) const {
  TRI_ASSIGN_OR_RETURN(const Pair* pair, FindOfKind(key, Kind::kArray));
  if (pair->element_type != GgufType::kString) return TypeError(*pair, "an array of strings");
  std::vector<std::string_view> strings;
  strings.reserve(pair->count);
  uint64_t offset = pair->offset;
  for (uint64_t i = 0; i < pair->count; ++i) {
    strings.push_back(StringAt(offset));
    offset += 8 + strings.back().size();
  }
  return strings;
}

absl::StatusOr<std::vector<int64_t>> GgufMetadata::GetIntegers(std::string_view key) const {
  TRI_ASSIGN_OR_RETURN(const Pair* pair, FindOfKind(key, Kind::kArray));
  std::vector<int64_t> integers;
  integers.reserve(pair->count);
  for (uint64_t i = 0; i < pair->count; ++i) {
    const uint64_t offset = pair->offset + i * Width(pair->element_type);
    TRI_ASSIGN_OR_RETURN(const int64_t value, IntegerAt(*pair, pair->element_type, offset));
    integers.push_back(value);
  }
  return integers;
}

absl::StatusOr<std::vector<double>> GgufMetadata::GetFloats(std::string_view key) const {
  TRI_ASSIGN_OR_RETURN(const Pair* pair, FindOfKind(key, Kind::kArray));
  std::vector<double> floats;
  floats.reserve(pair->count);
  for (uint64_t i = 0; i < pair->count; ++i) {
    const uint64_t offset = pair->offset + i * Width(pair->element_type);
    TRI_ASSIGN_OR_RETURN(const double value, FloatAt(*pair, pair->element_type, offset));
    floats.push_back(value);
  }
  return floats;
}

std::string GgufMetadata::CopyWithoutTensors() const {
  std::string copy(reinterpret_cast<const char*>(file_.data()), tensors_offset_);
  std::memset(copy.data() + kTensorCountOffset, 0, sizeof(uint64_t));
  return copy;
}

}  // namespace trireme
