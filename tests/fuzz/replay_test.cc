// Runs a fuzz target over its corpus: what a fuzzer once found stays fixed in every build.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/support/temp_directory.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace trireme {
namespace {

TEST(FuzzReplayTest, SurvivesItsCorpus) {
  int inputs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TRIREME_FUZZ_CORPUS)) {
    SCOPED_TRACE(entry.path().string());
    const std::string input = ReadWholeFile(entry.path().string());
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size()),
              0);
    ++inputs;
  }
  EXPECT_GT(inputs, 0) << "no corpus in " << TRIREME_FUZZ_CORPUS;
}

}  // namespace
}  // namespace trireme
