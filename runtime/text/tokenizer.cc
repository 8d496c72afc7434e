#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/gguf_metadata.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/bpe/sources.h"
#include "runtime/text/bpe/vocabulary.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/json_text.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// Larger than any published tokenizer by a factor of ten.
constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;
constexpr int kMaxConfigDepth = 64;

std::string_view TextOf(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.size()};
}

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// The JSON object in a file; null where there is no such file.
absl::StatusOr<Json> ReadJsonFile(const fs::path& path) {
  if (!Exists(path)) return Json();
  TRI_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path.string()));
  const std::string_view text = TextOf(*file);
  if (text.size() <= kMaxFileBytes && !JsonNestsDeeperThan(text, kMaxConfigDepth)) {
    Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
    if (json.is_object()) return json;
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: expected a JSON object, nested at most %d levels", path.string(), kMaxConfigDepth));
}

const Json* Find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() ? nullptr : &*at;
}

// The template in a string, or the one called "default" in a list of {"name", "template"}.
absl::StatusOr<std::string> TemplateIn(const Json& value, const fs::path& path) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return std::string();
  if (value.is_array()) {
    for (const Json& named : value) {
      const Json* name = Find(named, "name");
      const Json* text = Find(named, "template");
      if (name != nullptr && *name == "default" && text != nullptr && text->is_string()) {
        return text->get<std::string>();
      }
    }
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s: expected chat_template to be a text, or a list with one named \"default\"",
      path.string()));
}

// chat_template.jinja, chat_template.json, tokenizer_config.json: the first that has one.
absl::StatusOr<std::string> ReadChatTemplate(const fs::path& folder, const Json& config) {
  const fs::path jinja = folder / "chat_template.jinja";
  if (Exists(jinja)) {
    TRI_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(jinja.string()));
    return std::string(TextOf(*file).substr(0, kMaxFileBytes));
  }
  const fs::path alone = folder / "chat_template.json";
  TRI_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(alone));
  if (const Json* found = Find(json, "chat_template")) return TemplateIn(*found, alone);
  if (const Json* found = Find(config, "chat_template")) {
    return TemplateIn(*found, folder / "tokenizer_config.json");
  }
  return std::string();
}

// "bos_token" is a text, or an object with one under "content".
absl::Status SetNamedToken(const Json& config, const char* key, const fs::path& path,
                           const BpeVocabulary& vocabulary, std::optional<int32_t>& id) {
  const Json* value = Find(config, key);
  if (value != nullptr && value->is_object()) value = Find(*value, "content");
  if (value == nullptr || value->is_null()) return absl::OkStatus();
  if (value->is_string()) {
    const auto at = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(),
                              value->get_ref<const std::string&>());
    if (at != vocabulary.tokens.end()) {
      id = static_cast<int32_t>(at - vocabulary.tokens.begin());
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(absl::StrFormat("%s: expected %s to name a token of %s",
                                                    path.string(), key, vocabulary.source));
}

// What lies beside tokenizer.json and tokenizer.model.
absl::Status ReadTokenizerConfig(const fs::path& folder, BpeVocabulary& vocabulary) {
  const fs::path path = folder / "tokenizer_config.json";
  TRI_ASSIGN_OR_RETURN(const Json config, ReadJsonFile(path));
  TRI_RETURN_IF_ERROR(SetNamedToken(config, "bos_token", path, vocabulary, vocabulary.bos));
  TRI_RETURN_IF_ERROR(SetNamedToken(config, "eos_token", path, vocabulary, vocabulary.eos));
  TRI_ASSIGN_OR_RETURN(vocabulary.chat_template, ReadChatTemplate(folder, config));
  return absl::OkStatus();
}

absl::StatusOr<BpeVocabulary> ReadTiktokenBeside(const MappedFile& file, const fs::path& folder) {
  TRI_ASSIGN_OR_RETURN(const Json config, ReadJsonFile(folder / "config.json"));
  std::optional<TiktokenFamily> family;
  if (const Json* type = Find(config, "model_type"); type != nullptr && type->is_string()) {
    family = FamilyOfModelType(type->get_ref<const std::string&>());
  }
  return ReadTiktoken(TextOf(file), file.path(), family);
}

// The kind of file is told by how it begins, not by its name.
absl::StatusOr<BpeVocabulary> ReadVocabulary(const fs::path& path) {
  TRI_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path.string()));
  const std::string_view text = TextOf(*file);
  if (text.starts_with("GGUF")) {
    TRI_ASSIGN_OR_RETURN(const GgufMetadata metadata,
                         GgufMetadata::Parse(file->bytes(), file->path()));
    return ReadGgufVocabulary(metadata, file->path());
  }
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s has %d bytes; expected a tokenizer.json or tokenizer.model of at most %d",
        path.string(), text.size(), kMaxFileBytes));
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const size_t start = text.find_first_not_of(" \t\r\n");
  absl::StatusOr<BpeVocabulary> vocabulary = start != std::string_view::npos && text[start] == '{'
                                                 ? ReadTokenizerJson(text, file->path())
                                                 : ReadTiktokenBeside(*file, folder);
  if (!vocabulary.ok()) return vocabulary;
  TRI_RETURN_IF_ERROR(ReadTokenizerConfig(folder, *vocabulary));
  return vocabulary;
}

// The file of a directory that holds its tokenizer.
absl::StatusOr<fs::path> TokenizerFileIn(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "metadata.gguf"}) {
    if (Exists(folder / name)) return folder / name;
  }
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".gguf" && Exists(at->path())) found.push_back(at->path());
  }
  if (found.size() == 1) return found.front();
  return absl::NotFoundError(absl::StrFormat(
      "%s holds no tokenizer: expected tokenizer.json, tokenizer.model, metadata.gguf or a single "
      "*.gguf file, found %d GGUF files",
      folder.string(), found.size()));
}

}  // namespace

std::string Tokenizer::Decode(std::span<const int32_t> ids) const {
  std::string bytes;
  for (const int32_t id : ids) bytes += TokenBytes(id);
  if (IsValidUtf8(bytes)) return bytes;
  std::string pending;
  std::string text;
  AppendValidUtf8(bytes, true, pending, text);
  return text;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path) {
  std::error_code ignored;
  fs::path file(path);
  if (fs::is_directory(file, ignored)) {
    TRI_ASSIGN_OR_RETURN(file, TokenizerFileIn(file));
  }
  TRI_ASSIGN_OR_RETURN(BpeVocabulary vocabulary, ReadVocabulary(file));
  return MakeBpeTokenizer(std::move(vocabulary));
}

std::vector<std::string> ContentBytes(const Tokenizer& tokenizer) {
  std::vector<std::string> bytes(static_cast<size_t>(tokenizer.vocab_size()));
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.IsSpecial(id)) bytes[static_cast<size_t>(id)] = tokenizer.TokenBytes(id);
  }
  return bytes;
}

}  // namespace trireme
