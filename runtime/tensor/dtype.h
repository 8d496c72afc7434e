// Element types, as they are stored. Block types (GGUF's names and layouts) hold a fixed number of
// consecutive elements of a row in a fixed number of bytes; scalar types are blocks of one element.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace trireme {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kI32,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

struct DTypeTraits {
  DType dtype;
  std::string_view name;  // as safetensors and our shard files spell it: "F32", "BF16", "Q4_1", …
  int block_elements;
  int block_bytes;
};

const DTypeTraits& Traits(DType dtype);
std::optional<DType> DTypeFromName(std::string_view name);
inline std::string_view Name(DType dtype) { return Traits(dtype).name; }
inline bool IsBlockType(DType dtype) { return Traits(dtype).block_elements > 1; }

// Bytes of a row of `elements`, which must be a multiple of the block (a CHECK: readers verify first).
int64_t RowBytes(DType dtype, int64_t elements);

}  // namespace trireme
