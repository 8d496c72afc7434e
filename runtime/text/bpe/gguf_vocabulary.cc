#include <array>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/bpe/byte_level.h"
#include "runtime/text/bpe/pre_tokenizer.h"
#include "runtime/text/bpe/sources.h"

namespace trireme {
namespace {

struct NamedPreTokenizer {
  std::string_view name;
  std::array<std::string_view, 2> patterns;  // in order; "" for none
  bool whole_piece_first;
};

// tokenizer.ggml.pre → what it stands for.
constexpr NamedPreTokenizer kNamedPreTokenizers[] = {
    {"gpt-2", {kGpt2Pattern, ""}, false},
    {"smollm", {kSingleDigitPattern, kGpt2Pattern}, false},
    {"llama-bpe", {kLlama3Pattern, ""}, true},
    {"llama3", {kLlama3Pattern, ""}, true},
    {"llama-v3", {kLlama3Pattern, ""}, true},
    {"llama4", {kLlama4Pattern, ""}, true},
};

absl::Status SetPreTokenizer(const GgufMetadata& metadata, BpeVocabulary& vocabulary) {
  TRI_ASSIGN_OR_RETURN(const std::string_view name, metadata.GetString("tokenizer.ggml.pre"));
  std::string known;
  for (const NamedPreTokenizer& named : kNamedPreTokenizers) {
    known += absl::StrFormat("%s%s", known.empty() ? "" : ", ", std::string(named.name));
    if (named.name != name) continue;
    for (const std::string_view pattern : named.patterns) {
      if (!pattern.empty()) vocabulary.split_patterns.emplace_back(pattern);
    }
    vocabulary.whole_piece_first = named.whole_piece_first;
    return absl::OkStatus();
  }
  return absl::UnimplementedError(
      absl::StrFormat("%s: tokenizer.ggml.pre is \"%s\"; supported are %s", vocabulary.source,
                      std::string(name), known));
}

// The numbers of tokenizer.ggml.token_type.
absl::StatusOr<TokenKind> KindOf(int64_t type, size_t id, const std::string& source) {
  switch (type) {
    case 1:  // normal
      return TokenKind::kText;
    case 2:  // unknown
    case 3:  // control
      return TokenKind::kSpecial;
    case 4:  // defined by the user
      return TokenKind::kAdded;
    case 5:  // unused
      return TokenKind::kUnused;
    default:  // 6, a byte, belongs to SentencePiece vocabularies
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: token %d has tokenizer.ggml.token_type %d; expected 1 to 5", source, id, type));
  }
}

absl::StatusOr<std::optional<int32_t>> OptionalId(const GgufMetadata& metadata,
                                                  const std::string& key, size_t num_tokens) {
  if (metadata.Find(key) == nullptr) return std::optional<int32_t>();
  TRI_ASSIGN_OR_RETURN(const int64_t id, metadata.GetInteger(key));
  if (id < 0 || static_cast<uint64_t>(id) >= num_tokens) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s is %d; the vocabulary has %d tokens", key, id, num_tokens));
  }
  return std::optional<int32_t>(static_cast<int32_t>(id));
}

absl::Status SetTokens(const GgufMetadata& metadata, const std::vector<std::string_view>& written,
                       BpeVocabulary& vocabulary) {
  TRI_ASSIGN_OR_RETURN(const std::vector<int64_t> types,
                       metadata.GetIntegers("tokenizer.ggml.token_type"));
  if (types.size() != written.size() || written.size() > BpeVocabulary::kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: tokenizer.ggml.tokens has %d entries and .token_type %d; expected as many, at most %d",
        vocabulary.source, written.size(), types.size(), BpeVocabulary::kMaxTokens));
  }
  for (size_t id = 0; id < written.size(); ++id) {
    TRI_ASSIGN_OR_RETURN(TokenKind kind, KindOf(types[id], id, vocabulary.source));
    std::string bytes(written[id]);
    if (kind == TokenKind::kText) {
      std::optional<std::string> decoded = ByteLevelToBytes(written[id]);
      if (!decoded) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "%s: token %d, \"%s\", is not byte-level text; expected GPT-2's 256 characters",
            vocabulary.source, id, bytes));
      }
      bytes = *std::move(decoded);
    }
    vocabulary.tokens.push_back(std::move(bytes));
    vocabulary.kinds.push_back(kind);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<BpeVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata,
                                                 const std::string& source) {
  BpeVocabulary vocabulary;
  vocabulary.source = source;
  TRI_ASSIGN_OR_RETURN(const std::string_view model, metadata.GetString("tokenizer.ggml.model"));
  if (model != "gpt2") {
    return absl::UnimplementedError(
        absl::StrFormat("%s: tokenizer.ggml.model is \"%s\"; supported is \"gpt2\", byte-level BPE",
                        source, std::string(model)));
  }
  TRI_RETURN_IF_ERROR(SetPreTokenizer(metadata, vocabulary));
  TRI_ASSIGN_OR_RETURN(const std::vector<std::string_view> written,
                       metadata.GetStrings("tokenizer.ggml.tokens"));
  TRI_RETURN_IF_ERROR(SetTokens(metadata, written, vocabulary));
  WrittenTokens by_text;
  by_text.reserve(written.size());
  for (size_t id = 0; id < written.size(); ++id) {
    if (by_text.emplace(written[id], static_cast<int32_t>(id)).second) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: token %d, \"%s\", has two ids", source, id, std::string(written[id])));
  }
  TRI_ASSIGN_OR_RETURN(const std::vector<std::string_view> merges,
                       metadata.GetStrings("tokenizer.ggml.merges"));
  vocabulary.merges.reserve(merges.size());
  for (const std::string_view merge : merges) {
    TRI_RETURN_IF_ERROR(AppendMerge(by_text, merge, vocabulary));
  }
  TRI_ASSIGN_OR_RETURN(vocabulary.bos,
                       OptionalId(metadata, "tokenizer.ggml.bos_token_id", written.size()));
  TRI_ASSIGN_OR_RETURN(vocabulary.eos,
                       OptionalId(metadata, "tokenizer.ggml.eos_token_id", written.size()));
  if (metadata.Find("tokenizer.chat_template") != nullptr) {
    TRI_ASSIGN_OR_RETURN(const std::string_view chat_template,
                         metadata.GetString("tokenizer.chat_template"));
    vocabulary.chat_template = chat_template;
  }
  return vocabulary;
}

}  // namespace trireme
