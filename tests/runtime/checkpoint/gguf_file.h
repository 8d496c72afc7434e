// Builds GGUF files for tests, good and bad alike: nothing here checks anything.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme {

struct GgufEntryText {
  std::string name;
  std::vector<uint64_t> extents;  // innermost first, as the file lists them
  uint32_t type = 0;
  uint64_t offset = 0;
};

struct GgufFileText {
  std::vector<GgufEntryText> entries = {};
  uint64_t data_bytes = 0;
  uint32_t version = 3;
  std::optional<uint32_t> alignment = {};     // general.alignment, when written
  std::optional<uint64_t> tensor_count = {};  // instead of entries.size()

  // Up to the end of the entries.
  std::string Head() const {
    std::string text = "GGUF";
    Append(text, version);
    Append<uint64_t>(text, tensor_count.value_or(entries.size()));
    Append<uint64_t>(text, alignment.has_value() ? 1 : 0);
    if (alignment.has_value()) {
      AppendString(text, "general.alignment");
      Append<uint32_t>(text, 4);
      Append<uint32_t>(text, *alignment);
    }
    for (const GgufEntryText& entry : entries) {
      AppendString(text, entry.name);
      Append(text, static_cast<uint32_t>(entry.extents.size()));
      for (const uint64_t extent : entry.extents) Append(text, extent);
      Append(text, entry.type);
      Append(text, entry.offset);
    }
    return text;
  }

  // The whole file: byte i of the data is i modulo 251.
  std::string File() const {
    std::string text = Head();
    uint32_t multiple = alignment.value_or(32);
    if (multiple == 0 || multiple > 4096) multiple = 32;  // a bad value under test
    while (text.size() % multiple != 0) text.push_back('\0');
    for (uint64_t i = 0; i < data_bytes; ++i) text.push_back(static_cast<char>(i % 251));
    return text;
  }

 private:
  template <typename T>
  static void Append(std::string& text, T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  static void AppendString(std::string& text, std::string_view value) {
    Append<uint64_t>(text, value.size());
    text.append(value);
  }
};

}  // namespace trireme
