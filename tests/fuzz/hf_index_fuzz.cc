#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/checkpoint/hf_index.h"

// Whatever the text, an accepted index names only files of its own directory.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto index = trireme::ParseHfIndex(text, "fuzz");
  if (!index.ok()) return 0;
  for (const auto& [tensor, file] : *index) {
    TRI_CHECK(file.find('/') == std::string::npos && file.ends_with(".safetensors")) << file;
  }
  return 0;
}
