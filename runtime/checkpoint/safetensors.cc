#include "runtime/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"
#include "runtime/base/checked_math.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100 << 20;  // the reference implementation's limit
constexpr size_t kMaxNameBytes = 512;
constexpr size_t kMaxStoredRank = 32;  // beyond Shape::kMaxRank a tensor is listed as unsupported

// Dtypes of the format that no op reads, with their size, so that their ranges can be verified.
struct ForeignDType {
  std::string_view name;
  uint64_t bits;
};
constexpr std::array kForeignDTypes = {
    ForeignDType{"BOOL", 8},    ForeignDType{"U8", 8},      ForeignDType{"I8", 8},
    ForeignDType{"F8_E5M2", 8}, ForeignDType{"F8_E8M0", 8}, ForeignDType{"I16", 16},
    ForeignDType{"U16", 16},    ForeignDType{"U32", 32},    ForeignDType{"F64", 64},
    ForeignDType{"I64", 64},    ForeignDType{"U64", 64},    ForeignDType{"C64", 64},
    ForeignDType{"F4", 4},      ForeignDType{"F6_E2M3", 6}, ForeignDType{"F6_E3M2", 6},
};

// One entry of the header, as it stands there.
struct RawTensor {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  std::vector<uint64_t> data_offsets;
};

// Reads the header as a stream of events: duplicate keys stay visible, nesting is bounded by the
// format's own depth, and nothing is held but the tensors themselves.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  std::vector<RawTensor> tensors;
  std::map<std::string, std::string> metadata;

  // What is wrong, after sax_parse returned false.
  const std::string& complaint() const { return complaint_; }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(int64_t) override { return Unexpected("a negative number"); }
  bool number_float(double, const std::string&) override {
    return Unexpected("a number that is no 64-bit integer");
  }
  bool binary(json::binary_t&) override { return Unexpected("binary"); }

  bool number_unsigned(uint64_t value) override {
    if (place_ != Place::kShape && place_ != Place::kOffsets) return Unexpected("a number");
    RawTensor& tensor = tensors.back();
    std::vector<uint64_t>& list = place_ == Place::kShape ? tensor.shape : tensor.data_offsets;
    const size_t limit = place_ == Place::kShape ? kMaxStoredRank : 2;
    if (list.size() == limit) {
      return Fail(absl::StrFormat("expected at most %d numbers in %s; found more", limit, key_));
    }
    list.push_back(value);
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::kMetadata) {
      metadata[key_] = std::move(value);
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype") return Unexpected("a string");
    tensors.back().dtype = std::move(value);
    return true;
  }

  bool start_object(size_t) override {
    if (place_ == Place::kOutside) {
      place_ = Place::kFile;
      return true;
    }
    if (place_ != Place::kFile) return Unexpected("an object");
    if (in_metadata_) {
      place_ = Place::kMetadata;
    } else {
      place_ = Place::kTensor;
      fields_seen_ = {};
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) {
      for (size_t i = 0; i < kFields.size(); ++i) {
        if (!fields_seen_[i]) {
          return Fail(
              absl::StrFormat("expected dtype, shape and data_offsets; found no %s", kFields[i]));
        }
      }
      if (tensors.back().data_offsets.size() != 2) {
        return Fail(absl::StrFormat("expected 2 numbers in data_offsets; found %d",
                                    tensors.back().data_offsets.size()));
      }
    }
    place_ = place_ == Place::kFile ? Place::kOutside : Place::kFile;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::kTensor || key_ == "dtype") return Unexpected("an array");
    place_ = key_ == "shape" ? Place::kShape : Place::kOffsets;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool key(std::string& name) override {
    key_ = std::move(name);
    if (place_ == Place::kMetadata) {
      if (!metadata.contains(key_)) return true;
      complaint_ = absl::StrFormat("key '%s' occurs twice in __metadata__", Printable(key_));
      return false;
    }
    return place_ == Place::kTensor ? BeginField() : BeginTensor();
  }

  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    complaint_ = absl::StrFormat("the header is not valid JSON at its byte %d", position);
    return false;
  }

 private:
  enum class Place { kOutside, kFile, kMetadata, kTensor, kShape, kOffsets };
  static constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};

  // A key of the outermost object: __metadata__ or a tensor's name.
  bool BeginTensor() {
    in_metadata_ = key_ == "__metadata__";
    if (in_metadata_) {
      if (!metadata_seen_) return metadata_seen_ = true;
      complaint_ = "__metadata__ occurs twice";
      return false;
    }
    const bool control = std::any_of(key_.begin(), key_.end(), [](char c) {
      return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
    if (key_.empty() || key_.size() > kMaxNameBytes || control) {
      complaint_ = absl::StrFormat(
          "expected tensor names of 1 to %d bytes without control characters; found '%s' of %d "
          "bytes",
          kMaxNameBytes, Printable(key_), key_.size());
      return false;
    }
    tensors.emplace_back();
    tensors.back().name = key_;
    return true;
  }

  bool BeginField() {
    const auto field = std::find(kFields.begin(), kFields.end(), key_);
    if (field == kFields.end()) {
      return Fail(
          absl::StrFormat("expected dtype, shape and data_offsets; found '%s'", Printable(key_)));
    }
    bool& seen = fields_seen_[static_cast<size_t>(field - kFields.begin())];
    if (seen) return Fail(absl::StrFormat("%s occurs twice", key_));
    return seen = true;
  }

  bool Fail(std::string_view message) {
    complaint_ = absl::StrFormat("tensor '%s': %s", Printable(tensors.back().name), message);
    return false;
  }

  // A value of a kind that does not belong where it stands.
  bool Unexpected(std::string_view found) {
    switch (place_) {
      case Place::kOutside:
        complaint_ = absl::StrFormat("expected the header to be a JSON object; found %s", found);
        return false;
      case Place::kFile:
        complaint_ = absl::StrFormat("'%s': expected an object; found %s",
                                     Printable(in_metadata_ ? "__metadata__" : key_), found);
        return false;
      case Place::kMetadata:
        complaint_ = absl::StrFormat("key '%s' of __metadata__: expected a string; found %s",
                                     Printable(key_), found);
        return false;
      case Place::kTensor:
        return Fail(absl::StrFormat("%s: expected %s; found %s", key_,
                                    key_ == "dtype" ? "a string" : "an array", found));
      case Place::kShape:
      case Place::kOffsets:
        return Fail(absl::StrFormat("%s: expected unsigned integers; found %s", key_, found));
    }
    return false;
  }

  Place place_ = Place::kOutside;
  std::string key_;           // the last one read
  bool in_metadata_ = false;  // the last key of the outermost object was __metadata__
  bool metadata_seen_ = false;
  std::array<bool, kFields.size()> fields_seen_{};
  std::string complaint_;
};

// Bytes of a tensor, or what is wrong with its dtype and shape.
struct StoredSize {
  std::optional<DType> dtype;  // nullopt: one of kForeignDTypes
  uint64_t bytes = 0;
};

absl::StatusOr<StoredSize> SizeOf(const RawTensor& tensor) {
  StoredSize size;
  size.dtype = DTypeFromName(tensor.dtype);
  uint64_t bits_of_block = 0;
  uint64_t elements_of_block = 1;
  if (size.dtype.has_value()) {
    bits_of_block = static_cast<uint64_t>(Traits(*size.dtype).block_bytes) * 8;
    elements_of_block = static_cast<uint64_t>(Traits(*size.dtype).block_elements);
  } else {
    const auto foreign =
        std::find_if(kForeignDTypes.begin(), kForeignDTypes.end(),
                     [&](const ForeignDType& dtype) { return dtype.name == tensor.dtype; });
    if (foreign == kForeignDTypes.end()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("expected a safetensors dtype such as F32, F16 or BF16; found '%s'",
                          Printable(tensor.dtype)));
    }
    bits_of_block = foreign->bits;
  }

  std::optional<uint64_t> bits = bits_of_block;
  for (const uint64_t extent : tensor.shape) {
    if (extent == 0) {
      return absl::InvalidArgumentError("expected extents of at least 1 in shape; found 0");
    }
    if (bits.has_value()) bits = CheckedMul(*bits, extent);
  }
  if (!bits.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("its shape [%s] overflows 64 bits", absl::StrJoin(tensor.shape, ", ")));
  }
  const uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % elements_of_block != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected rows of a multiple of %d elements for dtype %s; found %d",
                        elements_of_block, tensor.dtype, row));
  }
  if (*bits / elements_of_block % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected a whole number of bytes for dtype %s; found shape [%s]",
                        tensor.dtype, absl::StrJoin(tensor.shape, ", ")));
  }
  size.bytes = *bits / elements_of_block / 8;
  return size;
}

// Why no view of the tensor can be made, or empty.
std::string WhyUnsupported(const RawTensor& raw, std::optional<DType> dtype, uint64_t offset) {
  if (!dtype.has_value()) {
    return absl::StrFormat("dtype %s is not one Trireme computes with", raw.dtype);
  }
  if (raw.shape.size() > Shape::kMaxRank) {
    return absl::StrFormat("expected at most %d axes; found shape [%s]", Shape::kMaxRank,
                           absl::StrJoin(raw.shape, ", "));
  }
  // Block types begin with half-precision scales.
  const uint64_t alignment =
      IsBlockType(*dtype) ? 2 : static_cast<uint64_t>(Traits(*dtype).block_bytes);
  if (offset % alignment != 0) {
    return absl::StrFormat(
        "its data begin at byte %d of the file, which is not a multiple of %d (%s); "
        "save it again with a current safetensors library",
        offset, alignment, raw.dtype);
  }
  return {};
}

// `data_begin` and `data_bytes` place the file's data section.
absl::StatusOr<StoredTensor> Resolve(RawTensor&& raw, uint64_t data_begin, uint64_t data_bytes) {
  TRI_ASSIGN_OR_RETURN(const StoredSize size, SizeOf(raw));
  const uint64_t begin = raw.data_offsets[0];
  const uint64_t end = raw.data_offsets[1];
  if (begin > end || end > data_bytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "expected data_offsets within the %d bytes of data in the file; found [%d, %d)%s",
        data_bytes, begin, end,
        begin <= end ? "; the file may be truncated or still downloading" : ""));
  }
  if (end - begin != size.bytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "expected %d bytes for dtype %s and shape [%s]; found data_offsets [%d, %d), %d bytes",
        size.bytes, raw.dtype, absl::StrJoin(raw.shape, ", "), begin, end, end - begin));
  }
  StoredTensor tensor;
  tensor.name = std::move(raw.name);
  tensor.offset = data_begin + begin;
  tensor.bytes = size.bytes;
  tensor.unsupported = WhyUnsupported(raw, size.dtype, tensor.offset);
  if (!tensor.unsupported.empty()) return tensor;
  tensor.dtype = *size.dtype;
  // The extents' product is at most the size of the file, so each fits.
  for (const uint64_t extent : raw.shape) tensor.shape.Append(static_cast<int64_t>(extent));
  return tensor;
}

// The tensors must tile the data section: each byte belongs to exactly one.
absl::Status CheckTiling(const std::vector<StoredTensor>& tensors, uint64_t data_begin,
                         uint64_t data_bytes) {
  std::vector<const StoredTensor*> by_offset;
  by_offset.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  uint64_t end = data_begin;
  const StoredTensor* previous = nullptr;
  for (const StoredTensor* tensor : by_offset) {
    if (tensor->offset < end) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "tensor '%s': its data_offsets begin at %d and overlap those of '%s', which end at %d",
          tensor->name, tensor->offset - data_begin, previous->name, end - data_begin));
    }
    if (tensor->offset > end) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "tensor '%s': expected its data_offsets to begin at %d, where the tensor before ends; "
          "found %d",
          tensor->name, end - data_begin, tensor->offset - data_begin));
    }
    end += tensor->bytes;
    previous = tensor;
  }
  if (end - data_begin != data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("expected the tensors to cover all %d bytes of data; found that they end "
                        "at %d",
                        data_bytes, end - data_begin));
  }
  return absl::OkStatus();
}

absl::Status Located(std::string_view file_name, std::string_view message) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s", file_name, message));
}

// The JSON text between the length and the data.
absl::StatusOr<std::string_view> HeaderText(std::span<const std::byte> file,
                                            std::string_view file_name) {
  if (file.size() < kLengthBytes) {
    return Located(file_name,
                   absl::StrFormat("expected a safetensors file of at least %d bytes; found %d",
                                   kLengthBytes, file.size()));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  }
  if (length > kMaxHeaderBytes) {
    return Located(file_name, absl::StrFormat("expected a header of at most %d bytes; found a "
                                              "header length of %d; is it a safetensors file?",
                                              kMaxHeaderBytes, length));
  }
  if (!RangeFits(kLengthBytes, length, file.size())) {
    return Located(file_name, absl::StrFormat("expected %d bytes of header; found %d before the "
                                              "end of the file; the file may be truncated",
                                              length, file.size() - kLengthBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) {
    return Located(file_name, absl::StrFormat("expected the header to begin with '{'; found '%s'",
                                              Printable(text.substr(0, 1))));
  }
  return text;
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::span<const std::byte> file,
                                                         std::string_view file_name) {
  TRI_ASSIGN_OR_RETURN(const std::string_view text, HeaderText(file, file_name));
  HeaderReader reader;
  if (!json::sax_parse(text, &reader)) return Located(file_name, reader.complaint());

  const uint64_t data_begin = kLengthBytes + text.size();
  const uint64_t data_bytes = file.size() - data_begin;
  SafetensorsHeader header;
  header.metadata = std::move(reader.metadata);
  header.tensors.reserve(reader.tensors.size());
  for (RawTensor& raw : reader.tensors) {
    const std::string name = raw.name;
    absl::StatusOr<StoredTensor> tensor = Resolve(std::move(raw), data_begin, data_bytes);
    if (!tensor.ok()) {
      return Located(file_name, absl::StrFormat("tensor '%s': %s", name,
                                                std::string(tensor.status().message())));
    }
    header.tensors.push_back(*std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto duplicate =
      std::adjacent_find(header.tensors.begin(), header.tensors.end(),
                         [](const auto& a, const auto& b) { return a.name == b.name; });
  if (duplicate != header.tensors.end()) {
    return Located(file_name, absl::StrFormat("tensor '%s' occurs twice", duplicate->name));
  }
  if (absl::Status tiling = CheckTiling(header.tensors, data_begin, data_bytes); !tiling.ok()) {
    return Located(file_name, std::string(tiling.message()));
  }
  return header;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  std::unique_ptr<SafetensorsFile> source(new SafetensorsFile);
  TRI_ASSIGN_OR_RETURN(source->file_, MappedFile::Open(path));
  TRI_ASSIGN_OR_RETURN(SafetensorsHeader header,
                       ParseSafetensorsHeader(source->file_->bytes(), path));
  source->metadata_ = std::move(header.metadata);
  source->tensors_ = ViewTensors(source->file_, std::move(header.tensors));
  return source;
}

}  // namespace trireme
