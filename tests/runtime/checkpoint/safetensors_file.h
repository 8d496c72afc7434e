// Builds safetensors files for tests, good and bad alike: nothing here checks anything.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

// The 8 bytes of header length, little-endian.
inline std::string LittleEndian(uint64_t value) {
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

// `header` padded with spaces to a multiple of 8, and `data_bytes` of data: byte i is i modulo 251.
inline std::string MakeSafetensors(std::string header, uint64_t data_bytes) {
  while (header.size() % 8 != 0) header.push_back(' ');
  std::string file = LittleEndian(header.size()) + header;
  for (uint64_t i = 0; i < data_bytes; ++i) file.push_back(static_cast<char>(i % 251));
  return file;
}

// One tensor "name" of dtype F32 and shape [floats]: the smallest useful file.
inline std::string MakeF32File(std::string_view name, uint64_t floats) {
  const std::string count = std::to_string(floats);
  return MakeSafetensors("{\"" + std::string(name) + R"(":{"dtype":"F32","shape":[)" + count +
                             R"(],"data_offsets":[0,)" + std::to_string(4 * floats) + "]}}",
                         4 * floats);
}

}  // namespace trireme
