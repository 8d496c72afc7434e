#include <cstdint>
#include <string>

#include "runtime/base/check.h"
#include "runtime/base/checked_math.h"
#include "runtime/base/gguf_metadata.h"
#include "runtime/checkpoint/gguf.h"

namespace {

// Every value that the metadata lists can be asked for in any type.
void ReadAll(const trireme::GgufMetadata& metadata) {
  for (const trireme::GgufMetadata::Pair& pair : metadata.pairs()) {
    TRI_CHECK(metadata.Find(pair.key) == &pair);
    (void)metadata.GetString(pair.key);
    (void)metadata.GetInteger(pair.key);
    (void)metadata.GetFloat(pair.key);
    (void)metadata.GetBool(pair.key);
    (void)metadata.GetStrings(pair.key);
    (void)metadata.GetIntegers(pair.key);
    (void)metadata.GetFloats(pair.key);
  }
}

}  // namespace

// Whatever the bytes, accepted tensors lie in the file with the size of their type and shape.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  const auto metadata = trireme::GgufMetadata::Parse(file, "fuzz");
  if (!metadata.ok()) return 0;
  ReadAll(*metadata);
  const auto tensors = trireme::ParseGgufTensors(file, *metadata, "fuzz");
  if (!tensors.ok()) {
    TRI_CHECK(tensors.status().ToString().find(": fuzz: ") != std::string::npos)
        << tensors.status().ToString();
    return 0;
  }
  for (const trireme::StoredTensor& tensor : *tensors) {
    TRI_CHECK(trireme::RangeFits(tensor.offset, tensor.bytes, size)) << tensor.name;
    if (!tensor.unsupported.empty()) continue;
    const trireme::ConstTensorView view(nullptr, tensor.dtype, tensor.shape);
    TRI_CHECK_EQ(static_cast<uint64_t>(view.bytes()), tensor.bytes) << tensor.name;
  }
  return 0;
}
