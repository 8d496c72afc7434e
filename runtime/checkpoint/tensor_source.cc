#include "runtime/checkpoint/tensor_source.h"

#include <algorithm>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace trireme {
namespace {

// Entries and unsupported tensors are both sorted by name.
template <typename T>
const T* FindByName(const std::vector<T>& sorted, std::string_view name) {
  const auto found = std::lower_bound(
      sorted.begin(), sorted.end(), name,
      [](const T& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return found != sorted.end() && found->name == name ? &*found : nullptr;
}

std::string FilesSearched(const std::vector<TensorEntry>& entries) {
  constexpr size_t kMaxFilesNamed = 3;
  std::set<std::string> paths;
  for (const TensorEntry& entry : entries) {
    if (entry.file != nullptr) paths.insert(entry.file->path());
  }
  std::string text;
  size_t named = 0;
  for (const std::string& path : paths) {
    if (named++ == kMaxFilesNamed) break;
    text += (text.empty() ? "" : ", ") + path;
  }
  if (paths.size() > kMaxFilesNamed) {
    text += absl::StrFormat(" and %d more files", paths.size() - kMaxFilesNamed);
  }
  return text.empty() ? "an empty checkpoint" : text;
}

}  // namespace

const std::vector<UnsupportedTensor>& TensorSource::unsupported() const {
  static const std::vector<UnsupportedTensor> none;
  return none;
}

const TensorEntry* TensorSource::Find(std::string_view name) const {
  return FindByName(entries(), name);
}

absl::StatusOr<const TensorEntry*> TensorSource::Require(std::string_view name) const {
  if (const TensorEntry* entry = Find(name)) return entry;
  if (const UnsupportedTensor* found = FindByName(unsupported(), name)) {
    return absl::UnimplementedError(
        absl::StrFormat("%s: tensor '%s' cannot be used: %s", found->path, name, found->reason));
  }
  return absl::NotFoundError(absl::StrFormat("expected a tensor '%s'; found %d others in %s", name,
                                             entries().size() + unsupported().size(),
                                             FilesSearched(entries())));
}

}  // namespace trireme
