#include "runtime/checkpoint/hf_index.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/checkpoint/strict_json.h"

namespace trireme {
namespace {

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

bool IsPlainSafetensorsName(std::string_view name) {
  constexpr std::string_view kSuffix = ".safetensors";
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return c != '/' && c != '\\' && static_cast<unsigned char>(c) >= 0x20 && c != 0x7f;
  });
  return plain && name.size() > kSuffix.size() && name.size() <= 255 && name.ends_with(kSuffix) &&
         !name.starts_with('.');
}

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Which file each tensor came from, and all of them merged. Names stay unique across files.
struct MergedFiles {
  ViewedTensors tensors;
  std::map<std::string, std::string> file_of;  // tensor → file name
};

absl::Status Merge(const SafetensorsFile& file, const std::string& file_name, MergedFiles& merged) {
  const auto claim = [&](const std::string& tensor) -> absl::Status {
    const auto [at, is_first] = merged.file_of.emplace(tensor, file_name);
    if (is_first) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrFormat("tensor '%s' is in both %s and %s; expected it in one file", tensor,
                        at->second, file.file()->path()));
  };
  for (const TensorEntry& entry : file.entries()) {
    TRI_RETURN_IF_ERROR(claim(entry.name));
    merged.tensors.entries.push_back(entry);
  }
  for (const UnsupportedTensor& tensor : file.unsupported()) {
    TRI_RETURN_IF_ERROR(claim(tensor.name));
    merged.tensors.unsupported.push_back(tensor);
  }
  return absl::OkStatus();
}

absl::StatusOr<MergedFiles> OpenIndexed(const std::string& directory) {
  const std::string index_path = directory + "/" + std::string(kIndexFile);
  TRI_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(index_path, JsonLimits{}.max_bytes));
  TRI_ASSIGN_OR_RETURN(const auto weight_map, ParseHfIndex(text, index_path));
  std::set<std::string> file_names;
  for (const auto& [tensor, file_name] : weight_map) file_names.insert(file_name);

  MergedFiles merged;
  for (const std::string& file_name : file_names) {
    const std::string path = directory + "/" + file_name;
    absl::StatusOr<std::unique_ptr<SafetensorsFile>> file = SafetensorsFile::Open(path);
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(
          absl::StrFormat("%s lists %d files; expected %s among them; found no such file; is the "
                          "download complete?",
                          index_path, file_names.size(), path));
    }
    TRI_RETURN_IF_ERROR(file.status());
    TRI_RETURN_IF_ERROR(Merge(**file, file_name, merged));
  }
  for (const auto& [tensor, file_name] : weight_map) {
    const auto found = merged.file_of.find(tensor);
    if (found != merged.file_of.end() && found->second == file_name) continue;
    const std::string where = found == merged.file_of.end()
                                  ? "it in none of the files listed"
                                  : absl::StrFormat("it in %s", found->second);
    return absl::NotFoundError(absl::StrFormat("%s: expected tensor '%s' in %s; found %s",
                                               index_path, Printable(tensor), file_name, where));
  }
  return merged;
}

// Up to eight names, for a message that says what is there instead.
std::string Listing(const std::string& directory) {
  constexpr size_t kMaxNamesShown = 8;
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMaxNamesShown); ++i) {
    text += (i == 0 ? "" : ", ") + Printable(names[i]);
  }
  if (names.size() > kMaxNamesShown) text += ", …";
  return text.empty() ? "nothing" : text;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseHfIndex(std::string_view json_text,
                                                                std::string_view file_name) {
  TRI_ASSIGN_OR_RETURN(const nlohmann::json index, ParseStrictJson(json_text, file_name));
  const auto weight_map = index.is_object() ? index.find("weight_map") : index.end();
  if (weight_map == index.end() || !weight_map->is_object() || weight_map->empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: expected an object \"weight_map\" from tensor names to file names; found none",
        file_name));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, value] : weight_map->items()) {
    const auto* name = value.get_ptr<const std::string*>();
    if (name == nullptr || !IsPlainSafetensorsName(*name)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: tensor '%s': expected the plain name of a .safetensors file in the same directory; "
          "found %s",
          file_name, Printable(tensor),
          name == nullptr ? std::string("no string") : "'" + Printable(*name) + "'"));
    }
    files.emplace(tensor, *name);
  }
  return files;
}

absl::StatusOr<std::unique_ptr<HfDirectory>> HfDirectory::Open(const std::string& directory) {
  const std::string single_path = directory + "/" + std::string(kSingleFile);
  MergedFiles merged;
  if (Exists(single_path)) {
    TRI_ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(single_path));
    TRI_RETURN_IF_ERROR(Merge(*file, std::string(kSingleFile), merged));
  } else if (Exists(directory + "/" + std::string(kIndexFile))) {
    TRI_ASSIGN_OR_RETURN(merged, OpenIndexed(directory));
  } else {
    return absl::NotFoundError(absl::StrFormat("%s: expected %s or %s; found %s", directory,
                                               kSingleFile, kIndexFile, Listing(directory)));
  }
  const auto by_name = [](const auto& a, const auto& b) { return a.name < b.name; };
  std::sort(merged.tensors.entries.begin(), merged.tensors.entries.end(), by_name);
  std::sort(merged.tensors.unsupported.begin(), merged.tensors.unsupported.end(), by_name);
  std::unique_ptr<HfDirectory> source(new HfDirectory);
  source->tensors_ = std::move(merged.tensors);
  return source;
}

}  // namespace trireme
