#include "runtime/checkpoint/strict_json.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/printable.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

using nlohmann::json;

// Walks the text without building anything, so that what it refuses has cost no memory.
class StrictnessCheck : public nlohmann::json_sax<json> {
 public:
  explicit StrictnessCheck(const JsonLimits& limits) : limits_(limits) {}

  const std::string& complaint() const { return complaint_; }

  bool null() override { return Count(); }
  bool boolean(bool) override { return Count(); }
  bool number_integer(int64_t) override { return Count(); }
  bool number_unsigned(uint64_t) override { return Count(); }
  bool number_float(double, const std::string&) override { return Count(); }
  bool string(std::string&) override { return Count(); }
  bool binary(json::binary_t&) override { return Count(); }
  bool start_object(size_t) override { return Enter(); }
  bool start_array(size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool key(std::string& name) override {
    if (!keys_.back().insert(name).second) {
      complaint_ = limits_.name_keys
                       ? absl::StrFormat("key \"%s\" occurs twice in one object", Printable(name))
                       : "a key occurs twice in one object";
      return false;
    }
    if (keys_.back().size() <= limits_.max_keys) return true;
    complaint_ = absl::StrFormat("an object has more than %d keys", limits_.max_keys);
    return false;
  }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    complaint_ = absl::StrFormat("not valid JSON at byte %d", position);
    return false;
  }

 private:
  bool Count() {
    if (++values_ <= limits_.max_values) return true;
    complaint_ = absl::StrFormat("more than %d values", limits_.max_values);
    return false;
  }
  bool Enter() {
    if (!Count()) return false;
    keys_.emplace_back();
    if (keys_.size() <= static_cast<size_t>(limits_.max_depth)) return true;
    complaint_ = absl::StrFormat("nested deeper than %d levels", limits_.max_depth);
    return false;
  }
  bool Leave() {
    keys_.pop_back();
    return true;
  }

  const JsonLimits limits_;
  uint64_t values_ = 0;
  std::vector<std::set<std::string>> keys_;  // of the objects (and, empty, the arrays) being read
  std::string complaint_;
};

absl::Status TooLarge(std::string_view file_name, uint64_t size, uint64_t max_bytes) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: expected at most %d bytes; found %d", file_name, max_bytes, size));
}

}  // namespace

absl::Status CheckStrictJson(std::string_view text, std::string_view file_name,
                             const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) return TooLarge(file_name, text.size(), limits.max_bytes);
  StrictnessCheck check(limits);
  if (json::sax_parse(text, &check)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s: %s", file_name, check.complaint()));
}

absl::StatusOr<json> ParseStrictJson(std::string_view text, std::string_view file_name,
                                     const JsonLimits& limits) {
  TRI_RETURN_IF_ERROR(CheckStrictJson(text, file_name, limits));
  return json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path, uint64_t max_bytes) {
  TRI_ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  if (file->size() > max_bytes) return TooLarge(path, file->size(), max_bytes);
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

}  // namespace trireme
