#include "runtime/checkpoint/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/checked_math.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kMaxNameBytes = 512;
constexpr uint64_t kMaxTensors = 1 << 20;
// An entry with a one-letter name and no axes.
constexpr uint64_t kSmallestEntry = 8 + 1 + 4 + 4 + 8;

// The format's type numbers. Those without a dtype are known by name only.
struct GgufTensorType {
  uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;
};
constexpr std::array kTypes = {
    GgufTensorType{0, "F32", DType::kF32},       GgufTensorType{1, "F16", DType::kF16},
    GgufTensorType{2, "Q4_0", DType::kQ4_0},     GgufTensorType{3, "Q4_1", DType::kQ4_1},
    GgufTensorType{6, "Q5_0", DType::kQ5_0},     GgufTensorType{7, "Q5_1", DType::kQ5_1},
    GgufTensorType{8, "Q8_0", DType::kQ8_0},     GgufTensorType{9, "Q8_1", std::nullopt},
    GgufTensorType{10, "Q2_K", std::nullopt},    GgufTensorType{11, "Q3_K", std::nullopt},
    GgufTensorType{12, "Q4_K", DType::kQ4_K},    GgufTensorType{13, "Q5_K", DType::kQ5_K},
    GgufTensorType{14, "Q6_K", DType::kQ6_K},    GgufTensorType{15, "Q8_K", std::nullopt},
    GgufTensorType{16, "IQ2_XXS", std::nullopt}, GgufTensorType{17, "IQ2_XS", std::nullopt},
    GgufTensorType{18, "IQ3_XXS", std::nullopt}, GgufTensorType{19, "IQ1_S", std::nullopt},
    GgufTensorType{20, "IQ4_NL", std::nullopt},  GgufTensorType{21, "IQ3_S", std::nullopt},
    GgufTensorType{22, "IQ2_S", std::nullopt},   GgufTensorType{23, "IQ4_XS", std::nullopt},
    GgufTensorType{24, "I8", std::nullopt},      GgufTensorType{25, "I16", std::nullopt},
    GgufTensorType{26, "I32", DType::kI32},      GgufTensorType{27, "I64", std::nullopt},
    GgufTensorType{28, "F64", std::nullopt},     GgufTensorType{29, "IQ1_M", std::nullopt},
    GgufTensorType{30, "BF16", DType::kBF16},    GgufTensorType{34, "TQ1_0", std::nullopt},
    GgufTensorType{35, "TQ2_0", std::nullopt},   GgufTensorType{39, "MXFP4", std::nullopt},
};

const GgufTensorType* FindType(uint32_t number) {
  const auto found = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const GgufTensorType& t) { return t.number == number; });
  return found == kTypes.end() ? nullptr : &*found;
}

// One entry, as it stands in the file.
struct RawEntry {
  std::string name;
  uint32_t axes = 0;
  std::array<uint64_t, Shape::kMaxRank> extents{};  // innermost first
  uint32_t type = 0;
  uint64_t offset = 0;

  std::string ShapeText() const {
    return "[" + absl::StrJoin(std::span(extents).first(axes), ", ") + "]";
  }
};

// Walks the entries; every read says whether the file was long enough.
class EntryReader {
 public:
  EntryReader(std::span<const std::byte> file, uint64_t offset) : file_(file), offset_(offset) {}

  uint64_t offset() const { return offset_; }

  absl::StatusOr<RawEntry> Next() {
    RawEntry entry;
    uint64_t name_bytes = 0;
    if (!Read(name_bytes)) return Truncated("a tensor's name");
    if (name_bytes == 0 || name_bytes > kMaxNameBytes) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected a tensor name of 1 to %d bytes at offset %d; found %d",
                          kMaxNameBytes, offset_ - sizeof(name_bytes), name_bytes));
    }
    if (!RangeFits(offset_, name_bytes, file_.size())) return Truncated("a tensor's name");
    entry.name.assign(reinterpret_cast<const char*>(file_.data()) + offset_, name_bytes);
    offset_ += name_bytes;
    const bool printable = std::all_of(entry.name.begin(), entry.name.end(),
                                       [](char c) { return c > 0x20 && c < 0x7f; });
    if (!printable) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "expected a tensor name of printable ASCII; found '%s'", Printable(entry.name)));
    }

    const std::string where = absl::StrFormat("the entry of tensor '%s'", entry.name);
    if (!Read(entry.axes)) return Truncated(where);
    if (entry.axes > Shape::kMaxRank) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tensor '%s': expected at most %d axes; "
                          "found %d",
                          entry.name, Shape::kMaxRank, entry.axes));
    }
    for (uint64_t& extent : std::span(entry.extents).first(entry.axes)) {
      if (!Read(extent)) return Truncated(where);
    }
    if (!Read(entry.type) || !Read(entry.offset)) return Truncated(where);
    return entry;
  }

 private:
  template <typename T>
  bool Read(T& value) {
    if (!RangeFits(offset_, sizeof(T), file_.size())) return false;
    std::memcpy(&value, file_.data() + offset_, sizeof(T));
    offset_ += sizeof(T);
    return true;
  }

  absl::Status Truncated(std::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrFormat("the file ends at byte %d, within %s; it may be truncated or still "
                        "downloading",
                        file_.size(), what));
  }

  std::span<const std::byte> file_;
  uint64_t offset_;
};

// Bytes of a tensor of a supported type; errors do not name the tensor.
absl::StatusOr<uint64_t> SizeOf(const RawEntry& entry, DType dtype) {
  const DTypeTraits& traits = Traits(dtype);
  std::optional<uint64_t> elements = 1;
  for (const uint64_t extent : std::span(entry.extents).first(entry.axes)) {
    if (elements.has_value()) elements = CheckedMul(*elements, extent);
  }
  if (!elements.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("its shape %s overflows 64 bits", entry.ShapeText()));
  }
  const auto block_elements = static_cast<uint64_t>(traits.block_elements);
  const uint64_t row = entry.axes == 0 ? 1 : entry.extents[0];
  if (row % block_elements != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected rows of a multiple of %d elements for type %s; found %d",
                        block_elements, traits.name, row));
  }
  const auto bytes =
      CheckedMul(*elements / block_elements, static_cast<uint64_t>(traits.block_bytes));
  if (!bytes.has_value()) {
    return absl::InvalidArgumentError(absl::StrFormat("its size overflows 64 bits: %s of type %s",
                                                      entry.ShapeText(), traits.name));
  }
  return *bytes;
}

// Where the tensors' bytes lie in the file.
struct Payload {
  uint64_t begin = 0;
  uint64_t bytes = 0;
  uint64_t alignment = kDefaultAlignment;
};

absl::StatusOr<StoredTensor> Resolve(const RawEntry& entry, const Payload& payload) {
  for (const uint64_t extent : std::span(entry.extents).first(entry.axes)) {
    if (extent == 0) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected extents of at least 1; found shape %s", entry.ShapeText()));
    }
  }
  if (entry.offset % payload.alignment != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "expected an offset that is a multiple of %d; found %d", payload.alignment, entry.offset));
  }
  StoredTensor tensor;
  tensor.name = entry.name;
  const GgufTensorType* type = FindType(entry.type);
  const bool supported = type != nullptr && type->dtype.has_value();
  if (supported) {
    TRI_ASSIGN_OR_RETURN(tensor.bytes, SizeOf(entry, *type->dtype));
  } else {
    const std::string name = type == nullptr ? "unknown" : std::string(type->name);
    tensor.unsupported = absl::StrFormat(
        "GGUF type %d (%s) is not one Trireme computes with; convert it to F16, Q8_0 or Q4_K",
        entry.type, name);
  }
  if (!RangeFits(entry.offset, tensor.bytes, payload.bytes)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "expected its %d bytes at offset %d within the %d bytes of data in the file; "
        "the file may be truncated or still downloading",
        tensor.bytes, entry.offset, payload.bytes));
  }
  tensor.offset = payload.begin + entry.offset;
  if (!supported) return tensor;
  tensor.dtype = *type->dtype;
  // The extents' product is at most the size of the file, so each fits.
  for (uint32_t axis = entry.axes; axis > 0; --axis) {
    tensor.shape.Append(static_cast<int64_t>(entry.extents[axis - 1]));
  }
  return tensor;
}

absl::StatusOr<Payload> FindPayload(std::span<const std::byte> file, const GgufMetadata& metadata,
                                    uint64_t entries_end) {
  Payload payload;
  if (metadata.Find("general.alignment") != nullptr) {
    TRI_ASSIGN_OR_RETURN(const int64_t alignment, metadata.GetInteger("general.alignment"));
    if (alignment < 8 || alignment > static_cast<int64_t>(kMaxAlignment) ||
        !std::has_single_bit(static_cast<uint64_t>(alignment))) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected general.alignment to be a power of two from 8 to %d; found %d",
                          kMaxAlignment, alignment));
    }
    payload.alignment = static_cast<uint64_t>(alignment);
  }
  payload.begin = (entries_end + payload.alignment - 1) / payload.alignment * payload.alignment;
  // A file without tensors may end before the padding does.
  payload.begin = std::min<uint64_t>(payload.begin, file.size());
  payload.bytes = file.size() - payload.begin;
  return payload;
}

// Padding between tensors is the format's own, so gaps are fine.
absl::Status CheckNoOverlap(const std::vector<StoredTensor>& tensors, uint64_t data_begin) {
  std::vector<const StoredTensor*> by_offset;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.unsupported.empty()) by_offset.push_back(&tensor);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const StoredTensor& before = *by_offset[i - 1];
    const StoredTensor& tensor = *by_offset[i];
    if (tensor.offset >= before.offset + before.bytes) continue;
    return absl::InvalidArgumentError(absl::StrFormat(
        "tensor '%s' begins at offset %d and overlaps '%s', which ends at %d", tensor.name,
        tensor.offset - data_begin, before.name, before.offset - data_begin + before.bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<StoredTensor>> ParseTensors(std::span<const std::byte> file,
                                                       const GgufMetadata& metadata) {
  const uint64_t left = file.size() - metadata.tensors_offset();
  if (metadata.tensor_count() > std::min(kMaxTensors, left / kSmallestEntry)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "expected at most %d tensors, and no more than fit the %d bytes after the metadata; "
        "found a tensor count of %d",
        kMaxTensors, left, metadata.tensor_count()));
  }
  std::vector<RawEntry> entries(metadata.tensor_count());
  EntryReader reader(file, metadata.tensors_offset());
  for (RawEntry& entry : entries) {
    TRI_ASSIGN_OR_RETURN(entry, reader.Next());
  }
  std::sort(entries.begin(), entries.end(),
            [](const RawEntry& a, const RawEntry& b) { return a.name < b.name; });
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].name != entries[i - 1].name) continue;
    return absl::InvalidArgumentError(absl::StrFormat("tensor '%s' occurs twice", entries[i].name));
  }

  TRI_ASSIGN_OR_RETURN(const Payload payload, FindPayload(file, metadata, reader.offset()));
  std::vector<StoredTensor> tensors;
  tensors.reserve(entries.size());
  for (const RawEntry& entry : entries) {
    absl::StatusOr<StoredTensor> tensor = Resolve(entry, payload);
    if (!tensor.ok()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("tensor '%s': %s", entry.name, std::string(tensor.status().message())));
    }
    tensors.push_back(*std::move(tensor));
  }
  TRI_RETURN_IF_ERROR(CheckNoOverlap(tensors, payload.begin));
  return tensors;
}

}  // namespace

absl::StatusOr<std::vector<StoredTensor>> ParseGgufTensors(std::span<const std::byte> file,
                                                           const GgufMetadata& metadata,
                                                           std::string_view file_name) {
  absl::StatusOr<std::vector<StoredTensor>> tensors = ParseTensors(file, metadata);
  if (tensors.ok()) return tensors;
  return absl::Status(
      tensors.status().code(),
      absl::StrFormat("%s: %s", file_name, std::string(tensors.status().message())));
}

GgufFile::GgufFile(std::shared_ptr<const MappedFile> file, GgufMetadata metadata,
                   ViewedTensors tensors)
    : file_(std::move(file)), metadata_(std::move(metadata)), tensors_(std::move(tensors)) {}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  TRI_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  TRI_ASSIGN_OR_RETURN(GgufMetadata metadata, GgufMetadata::Parse(file->bytes(), path));
  TRI_ASSIGN_OR_RETURN(std::vector<StoredTensor> tensors,
                       ParseGgufTensors(file->bytes(), metadata, path));
  ViewedTensors viewed = ViewTensors(file, std::move(tensors));
  return absl::WrapUnique(new GgufFile(std::move(file), std::move(metadata), std::move(viewed)));
}

}  // namespace trireme
