#include "launcher/service/kserve/tensor_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using Tensor = inference::ModelInferRequest::InferInputTensor;
using Contents = inference::InferTensorContents;

static_assert(std::endian::native == std::endian::little, "raw contents are little-endian");

constexpr int kMaxInputs = 64;
constexpr int kMaxRank = 8;
constexpr int64_t kMaxElements =
    1024;  // of one tensor; what a list may hold is admission's business

// How the elements of a datatype lie in either form.
struct Datatype {
  std::string_view name;
  TensorKind kind;
  size_t raw_bytes;  // of an element; 0: each begins with its length
};
constexpr Datatype kDatatypes[] = {
    {"BYTES", TensorKind::kText, 0},     {"BOOL", TensorKind::kFlag, 1},
    {"INT32", TensorKind::kInteger, 4},  {"INT64", TensorKind::kInteger, 8},
    {"UINT32", TensorKind::kInteger, 4}, {"UINT64", TensorKind::kInteger, 8},
    {"FP32", TensorKind::kReal, 4},      {"FP64", TensorKind::kReal, 8},
};

absl::Status Wrong(const InputTensor& input, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s", input.name, what));
}

const Datatype* FindDatatype(std::string_view name, TensorKind kind) {
  for (const Datatype& datatype : kDatatypes) {
    if (datatype.name == name && datatype.kind == kind) return &datatype;
  }
  return nullptr;
}

absl::StatusOr<int64_t> ElementsOf(const InputTensor& input, const Tensor& tensor) {
  if (tensor.shape_size() == 0 || tensor.shape_size() > kMaxRank) {
    return Wrong(input, absl::StrFormat("expected a shape of 1 to %d dimensions; got %d", kMaxRank,
                                        tensor.shape_size()));
  }
  int64_t elements = 1;
  for (const int64_t size : tensor.shape()) {
    // Both factors are at most kMaxElements, so that no product can wrap.
    if (size < 0 || size > kMaxElements || elements * size > kMaxElements) {
      return Wrong(input, absl::StrFormat("expected a shape of at most %d elements", kMaxElements));
    }
    elements *= size;
  }
  if (elements == 1 || input.list) return elements;
  return Wrong(input, absl::StrFormat("expected a shape of one element, as [1]; got %d", elements));
}

template <typename T>
T Load(std::string_view raw, int64_t index) {
  T value;
  std::memcpy(&value, raw.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

TensorValue RawNumber(const Datatype& datatype, std::string_view raw, int64_t index) {
  if (datatype.name == "BOOL") return Load<uint8_t>(raw, index) != 0;
  if (datatype.name == "INT32") return int64_t{Load<int32_t>(raw, index)};
  if (datatype.name == "INT64") return Load<int64_t>(raw, index);
  if (datatype.name == "UINT32") return uint64_t{Load<uint32_t>(raw, index)};
  if (datatype.name == "UINT64") return Load<uint64_t>(raw, index);
  if (datatype.name == "FP32") return double{Load<float>(raw, index)};
  return Load<double>(raw, index);
}

absl::StatusOr<std::vector<TensorValue>> ReadRawTexts(const InputTensor& input,
                                                      std::string_view raw, int64_t elements) {
  std::vector<TensorValue> texts;
  for (int64_t i = 0; i < elements; ++i) {
    if (raw.size() < sizeof(uint32_t)) {
      return Wrong(input, "expected 4 bytes of length before each element of raw_input_contents");
    }
    const uint32_t bytes = Load<uint32_t>(raw, 0);
    raw.remove_prefix(sizeof(uint32_t));
    if (bytes > raw.size()) {
      return Wrong(input, absl::StrFormat("an element says that it has %d bytes; got %d", bytes,
                                          raw.size()));
    }
    texts.emplace_back(std::string(raw.substr(0, bytes)));
    raw.remove_prefix(bytes);
  }
  if (raw.empty()) return texts;
  return Wrong(input, absl::StrFormat("%d bytes follow its last element", raw.size()));
}

absl::StatusOr<std::vector<TensorValue>> ReadRaw(const InputTensor& input, const Datatype& datatype,
                                                 std::string_view raw, int64_t elements) {
  if (datatype.raw_bytes == 0) return ReadRawTexts(input, raw, elements);
  const size_t expected = static_cast<size_t>(elements) * datatype.raw_bytes;
  if (raw.size() != expected) {
    return Wrong(input, absl::StrFormat("expected %d bytes for %d elements of %s; got %d", expected,
                                        elements, datatype.name, raw.size()));
  }
  std::vector<TensorValue> values;
  for (int64_t i = 0; i < elements; ++i) values.push_back(RawNumber(datatype, raw, i));
  return values;
}

// All that is in `contents`, whichever datatype it is for.
int64_t CountOf(const Contents& contents) {
  return int64_t{contents.bool_contents_size()} + contents.int_contents_size() +
         contents.int64_contents_size() + contents.uint_contents_size() +
         contents.uint64_contents_size() + contents.fp32_contents_size() +
         contents.fp64_contents_size() + contents.bytes_contents_size();
}

template <typename T, typename Values>
std::vector<TensorValue> Widened(const Values& values) {
  std::vector<TensorValue> widened;
  for (const auto& value : values) widened.emplace_back(T(value));
  return widened;
}

// Those of the datatype's own field.
std::vector<TensorValue> ContentsOf(const Datatype& datatype, const Contents& contents) {
  if (datatype.name == "BYTES") return Widened<std::string>(contents.bytes_contents());
  if (datatype.name == "BOOL") return Widened<bool>(contents.bool_contents());
  if (datatype.name == "INT32") return Widened<int64_t>(contents.int_contents());
  if (datatype.name == "INT64") return Widened<int64_t>(contents.int64_contents());
  if (datatype.name == "UINT32") return Widened<uint64_t>(contents.uint_contents());
  if (datatype.name == "UINT64") return Widened<uint64_t>(contents.uint64_contents());
  if (datatype.name == "FP32") return Widened<double>(contents.fp32_contents());
  return Widened<double>(contents.fp64_contents());
}

absl::StatusOr<std::vector<TensorValue>> ReadContents(const InputTensor& input,
                                                      const Datatype& datatype,
                                                      const Contents& contents, int64_t elements) {
  const int64_t found = CountOf(contents);
  if (found == elements) {
    std::vector<TensorValue> values = ContentsOf(datatype, contents);
    if (static_cast<int64_t>(values.size()) == elements) return values;
  }
  return Wrong(input, absl::StrFormat("its shape and datatype say %d elements of %s, and contents "
                                      "hold %d elements that may be of others",
                                      elements, datatype.name, found));
}

absl::StatusOr<ReadTensor> ReadOne(const Tensor& tensor, const std::string* raw, int index) {
  const InputTensor* input = FindInputTensor(tensor.name());
  if (input == nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "inputs[%d]: no tensor of that name is taken; known are %s", index,
        absl::StrJoin(InputTensors(), ", ", [](std::string* out, const InputTensor& known) {
          out->append(known.name);
        })));
  }
  if (tensor.parameters().contains("shared_memory_region")) {
    return absl::UnimplementedError(
        absl::StrFormat("%s: shared memory is not supported; send the bytes", input->name));
  }
  const Datatype* datatype = FindDatatype(tensor.datatype(), input->kind);
  if (datatype == nullptr) {
    return Wrong(*input, absl::StrFormat("expected datatype %s", ExpectedDatatype(input->kind)));
  }
  TRI_ASSIGN_OR_RETURN(const int64_t elements, ElementsOf(*input, tensor));
  ReadTensor read{.input = input, .values = {}};
  if (raw == nullptr) {
    TRI_ASSIGN_OR_RETURN(read.values, ReadContents(*input, *datatype, tensor.contents(), elements));
  } else if (CountOf(tensor.contents()) > 0) {
    return Wrong(*input, "expected either contents or raw_input_contents; got both");
  } else {
    TRI_ASSIGN_OR_RETURN(read.values, ReadRaw(*input, *datatype, *raw, elements));
  }
  return read;
}

}  // namespace

absl::StatusOr<std::vector<ReadTensor>> ReadTensors(const inference::ModelInferRequest& request) {
  if (request.inputs_size() > kMaxInputs) {
    return absl::InvalidArgumentError(
        absl::StrFormat("inputs: expected at most %d; got %d", kMaxInputs, request.inputs_size()));
  }
  const int raws = request.raw_input_contents_size();
  if (raws != 0 && raws != request.inputs_size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("raw_input_contents: expected one for each of %d inputs, or none; got %d",
                        request.inputs_size(), raws));
  }
  std::vector<ReadTensor> tensors;
  for (int i = 0; i < request.inputs_size(); ++i) {
    const std::string* raw = raws == 0 ? nullptr : &request.raw_input_contents(i);
    TRI_ASSIGN_OR_RETURN(ReadTensor read, ReadOne(request.inputs(i), raw, i));
    if (std::ranges::find(tensors, read.input, &ReadTensor::input) != tensors.end()) {
      return Wrong(*read.input, "the tensor is given twice");
    }
    tensors.push_back(std::move(read));
  }
  return tensors;
}

}  // namespace trireme
