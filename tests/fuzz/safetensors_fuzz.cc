#include <cstdint>
#include <string>

#include "runtime/base/check.h"
#include "runtime/base/checked_math.h"
#include "runtime/checkpoint/safetensors.h"

// Whatever the bytes, a header that is accepted describes tensors that tile the file.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto header = trireme::ParseSafetensorsHeader(std::as_bytes(std::span(data, size)), "fuzz");
  if (!header.ok()) {
    TRI_CHECK(header.status().ToString().find(": fuzz: ") != std::string::npos)
        << header.status().ToString();
    return 0;
  }
  uint64_t total = 0;
  for (const trireme::StoredTensor& tensor : header->tensors) {
    TRI_CHECK(trireme::RangeFits(tensor.offset, tensor.bytes, size)) << tensor.name;
    total += tensor.bytes;
    if (!tensor.unsupported.empty()) continue;
    const trireme::ConstTensorView view(nullptr, tensor.dtype, tensor.shape);
    TRI_CHECK_EQ(static_cast<uint64_t>(view.bytes()), tensor.bytes) << tensor.name;
  }
  TRI_CHECK_LT(total, size);
  return 0;
}
