#include <cstdint>
#include <string>

#include "parallel/shards/manifest.h"
#include "runtime/base/check.h"

// Whatever the text, an accepted manifest names only files of its own directory, and its slices
// tile their files.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto manifest = trireme::ParseManifest(text, "fuzz");
  if (!manifest.ok()) return 0;
  for (const auto& file : manifest->set().companion_files()) {
    TRI_CHECK(file.name().find('/') == std::string::npos) << file.name();
  }
  const trireme::Mesh mesh = trireme::MeshOf(manifest->set());
  for (const auto& file : manifest->rank_files()) {
    TRI_CHECK_LT(static_cast<int>(file.rank()), mesh.ranks());
    uint64_t end = file.header_bytes();
    for (const auto& slice : file.slices()) {
      TRI_CHECK_EQ(slice.offset(), end);
      end += slice.bytes();
    }
    TRI_CHECK_EQ(end, file.bytes());
  }
  return 0;
}
