#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/bpe/byte_level.h"
#include "runtime/text/bpe/pre_tokenizer.h"
#include "runtime/text/bpe/sources.h"
#include "runtime/text/json_text.h"

namespace trireme {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 32;

// The value at a key, null where there is none.
const Json& At(const Json& object, const char* key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto at = object.find(key);
  return at == object.end() ? kNull : *at;
}

// A short form of a value for a message.
std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 60) + "…";
  return text;
}

bool IsTrue(const Json& value) { return value.is_boolean() && value.get<bool>(); }

std::string TypeOf(const Json& part) {
  const Json& type = At(part, "type");
  return type.is_string() ? type.get_ref<const std::string&>() : Shown(part);
}

absl::Status Unsupported(const std::string& source, const std::string& what,
                         const std::string& expected) {
  return absl::UnimplementedError(
      absl::StrFormat("%s: %s is not supported; expected %s", source, what, expected));
}

absl::Status Malformed(const std::string& source, const std::string& key, const Json& found,
                       const std::string& expected) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: %s is %s; expected %s", source, key, Shown(found), expected));
}

// Reads one tokenizer.json into a vocabulary, section by section.
class JsonReader {
 public:
  JsonReader(const Json& root, const std::string& source) : root_(root) {
    vocabulary_.source = source;
  }

  absl::StatusOr<BpeVocabulary> Read() {
    if (!root_.is_object()) return Malformed(source(), "the file", root_, "a JSON object");
    TRI_RETURN_IF_ERROR(CheckTextIsKept());
    TRI_RETURN_IF_ERROR(CheckModel());
    TRI_RETURN_IF_ERROR(ReadPreTokenizer());
    TRI_RETURN_IF_ERROR(CollectTokens());
    TRI_RETURN_IF_ERROR(ReadAddedTokens());
    TRI_RETURN_IF_ERROR(SetBytes());
    TRI_RETURN_IF_ERROR(ReadMerges());
    return std::move(vocabulary_);
  }

 private:
  const std::string& source() const { return vocabulary_.source; }
  const Json& model() const { return At(root_, "model"); }

  // A normalizer would change the text before, a decoder the text after.
  absl::Status CheckTextIsKept() const {
    const Json& normalizer = At(root_, "normalizer");
    const bool empty = TypeOf(normalizer) == "Sequence" && At(normalizer, "normalizers").empty();
    if (!normalizer.is_null() && !empty) {
      return Unsupported(source(), "normalizer " + TypeOf(normalizer), "none");
    }
    const Json& decoder = At(root_, "decoder");
    if (!decoder.is_null() && TypeOf(decoder) != "ByteLevel") {
      return Unsupported(source(), "decoder " + TypeOf(decoder), "ByteLevel");
    }
    return absl::OkStatus();
  }

  absl::Status CheckModel() {
    if (const Json& type = At(model(), "type"); type != "BPE" && !type.is_null()) {
      return Unsupported(source(), "model " + TypeOf(model()), "BPE");
    }
    const Json& dropout = At(model(), "dropout");
    if (!dropout.is_null() && dropout != 0.0) {
      return Unsupported(source(), "model.dropout " + Shown(dropout), "null");
    }
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json& affix = At(model(), key);
      if (!affix.is_null() && affix != "") {
        return Unsupported(source(), absl::StrFormat("model.%s %s", key, Shown(affix)), "null");
      }
    }
    if (IsTrue(At(model(), "byte_fallback"))) {
      return Unsupported(source(), "model.byte_fallback", "false");
    }
    vocabulary_.whole_piece_first = IsTrue(At(model(), "ignore_merges"));
    return absl::OkStatus();
  }

  absl::Status ReadPreTokenizer() {
    const Json& pre_tokenizer = At(root_, "pre_tokenizer");
    Json steps = Json::array();
    if (TypeOf(pre_tokenizer) == "Sequence") {
      steps = At(pre_tokenizer, "pretokenizers");
    } else {
      steps.push_back(pre_tokenizer);
    }
    if (!steps.is_array() || steps.empty() || TypeOf(steps.back()) != "ByteLevel") {
      return Unsupported(source(), "pre_tokenizer " + Shown(pre_tokenizer),
                         "a ByteLevel step at its end");
    }
    for (size_t i = 0; i < steps.size(); ++i) {
      const std::string type = TypeOf(steps[i]);
      if (type == "ByteLevel" && i + 1 == steps.size()) {
        TRI_RETURN_IF_ERROR(ReadByteLevel(steps[i]));
      } else if (type == "Digits") {
        vocabulary_.split_patterns.emplace_back(
            IsTrue(At(steps[i], "individual_digits")) ? kSingleDigitPattern : kDigitsPattern);
      } else if (type == "Split") {
        TRI_RETURN_IF_ERROR(ReadSplit(steps[i]));
      } else {
        return Unsupported(source(), absl::StrFormat("pre_tokenizer step %d, %s,", i, type),
                           "Split, Digits, and ByteLevel at the end");
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadByteLevel(const Json& step) {
    // Absent means true in the format.
    if (const Json& prefix = At(step, "add_prefix_space"); prefix != false) {
      return Unsupported(source(), "pre_tokenizer ByteLevel.add_prefix_space " + Shown(prefix),
                         "false");
    }
    if (At(step, "use_regex") != false) vocabulary_.split_patterns.emplace_back(kGpt2Pattern);
    return absl::OkStatus();
  }

  absl::Status ReadSplit(const Json& step) {
    const Json& pattern = At(At(step, "pattern"), "Regex");
    if (!pattern.is_string() || At(step, "behavior") != "Isolated" || IsTrue(At(step, "invert"))) {
      return Unsupported(source(), "pre_tokenizer Split " + Shown(step),
                         "a Regex pattern, behavior Isolated, invert false");
    }
    vocabulary_.split_patterns.push_back(pattern.get_ref<const std::string&>());
    return absl::OkStatus();
  }

  // An id as a number, or nullopt.
  static std::optional<size_t> AsId(const Json& value) {
    if (!value.is_number_unsigned()) return std::nullopt;
    const auto id = value.get<uint64_t>();
    if (id >= BpeVocabulary::kMaxTokens) return std::nullopt;
    return static_cast<size_t>(id);
  }

  // Places a token's written text, growing the table.
  absl::Status Place(size_t id, const std::string& text) {
    if (id >= written_.size()) written_.resize(id + 1);
    if (!written_[id].empty() && written_[id] != text) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: id %d is both \"%s\" and \"%s\"; expected one token an id", source(),
                          id, written_[id], text));
    }
    const auto [at, placed] = by_text_.emplace(text, static_cast<int32_t>(id));
    if (!placed && at->second != static_cast<int32_t>(id)) {
      return absl::InvalidArgumentError(absl::StrFormat("%s: token \"%s\" has two ids, %d and %d",
                                                        source(), text, at->second, id));
    }
    written_[id] = text;
    return absl::OkStatus();
  }

  absl::Status CollectTokens() {
    const Json& vocab = At(model(), "vocab");
    if (!vocab.is_object() || vocab.empty()) {
      return Malformed(source(), "model.vocab", vocab, "an object of token → id");
    }
    by_text_.reserve(vocab.size());
    for (const auto& [text, value] : vocab.items()) {
      const std::optional<size_t> id = AsId(value);
      if (!id || text.empty()) {
        return Malformed(source(), absl::StrFormat("model.vocab[\"%s\"]", text), value,
                         absl::StrFormat("a token that is not empty and an id from 0 to %d",
                                         BpeVocabulary::kMaxTokens - 1));
      }
      // The parsed file owns the key for as long as by_text_ lives.
      TRI_RETURN_IF_ERROR(Place(*id, text));
    }
    return absl::OkStatus();
  }

  absl::Status ReadAddedTokens() {
    const Json& added = At(root_, "added_tokens");
    if (added.is_null()) return absl::OkStatus();
    if (!added.is_array()) return Malformed(source(), "added_tokens", added, "an array");
    for (const Json& token : added) {
      const std::optional<size_t> id = AsId(At(token, "id"));
      const Json& content = At(token, "content");
      if (!id || !content.is_string() || content == "") {
        return Malformed(source(), "an entry of added_tokens", token, "an id and a content");
      }
      for (const char* key : {"single_word", "lstrip", "rstrip"}) {
        if (!IsTrue(At(token, key))) continue;
        return Unsupported(source(), absl::StrFormat("added token %s with %s", Shown(content), key),
                           "false");
      }
      TRI_RETURN_IF_ERROR(Place(*id, content.get_ref<const std::string&>()));
      if (*id >= kinds_.size()) kinds_.resize(*id + 1, TokenKind::kText);
      kinds_[*id] = IsTrue(At(token, "special")) ? TokenKind::kSpecial : TokenKind::kAdded;
    }
    return absl::OkStatus();
  }

  absl::Status SetBytes() {
    kinds_.resize(written_.size(), TokenKind::kText);
    vocabulary_.tokens.reserve(written_.size());
    std::array<bool, 256> known{};
    for (size_t id = 0; id < written_.size(); ++id) {
      if (kinds_[id] != TokenKind::kText) {
        vocabulary_.tokens.push_back(written_[id]);
        continue;
      }
      const std::optional<std::string> bytes = ByteLevelToBytes(written_[id]);
      // A hole, or text that no sequence of bytes is written as: merging can never reach it.
      if (!bytes || bytes->empty()) kinds_[id] = TokenKind::kUnused;
      vocabulary_.tokens.push_back(bytes.value_or(written_[id]));
      if (bytes && bytes->size() == 1) known[static_cast<uint8_t>(bytes->front())] = true;
    }
    vocabulary_.kinds = std::move(kinds_);
    const Json& unknown = At(model(), "unk_token");
    const bool all_bytes = std::find(known.begin(), known.end(), false) == known.end();
    if (!unknown.is_null() && !all_bytes) {
      return Unsupported(source(), "model.unk_token " + Shown(unknown),
                         "null, as some bytes have no token");
    }
    return absl::OkStatus();
  }

  absl::Status ReadMerges() {
    const Json& merges = At(model(), "merges");
    if (!merges.is_array()) return Malformed(source(), "model.merges", merges, "an array");
    vocabulary_.merges.reserve(merges.size());
    for (const Json& merge : merges) {
      if (merge.is_string()) {
        TRI_RETURN_IF_ERROR(
            AppendMerge(by_text_, merge.get_ref<const std::string&>(), vocabulary_));
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        TRI_RETURN_IF_ERROR(AppendMerge(by_text_, merge[0].get_ref<const std::string&>(),
                                        merge[1].get_ref<const std::string&>(), vocabulary_));
      } else {
        return Malformed(source(), "an entry of model.merges", merge,
                         "\"left right\" or [\"left\", \"right\"]");
      }
    }
    return absl::OkStatus();
  }

  const Json& root_;
  BpeVocabulary vocabulary_;
  std::vector<std::string> written_;  // by id
  std::vector<TokenKind> kinds_;      // by id, as far as added tokens reach
  WrittenTokens by_text_;             // points into root_
};

}  // namespace

absl::StatusOr<BpeVocabulary> ReadTokenizerJson(std::string_view json, const std::string& source) {
  if (JsonNestsDeeperThan(json, kMaxDepth)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s nests more than %d levels; expected a tokenizer.json", source, kMaxDepth));
  }
  const Json root = Json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is not valid JSON; fetch the file again", source));
  }
  return JsonReader(root, source).Read();
}

}  // namespace trireme
