#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/bpe/merger.h"
#include "runtime/text/bpe/pre_tokenizer.h"
#include "runtime/text/bpe/special_tokens.h"
#include "runtime/text/bpe/vocabulary.h"
#include "runtime/text/detokenizer.h"

namespace trireme {
namespace {

class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(BpeVocabulary vocabulary, PreTokenizer pre_tokenizer)
      : vocabulary_(std::move(vocabulary)),
        pre_tokenizer_(std::move(pre_tokenizer)),
        merger_(vocabulary_),
        special_(TokensOf(vocabulary_, true)),
        added_(TokensOf(vocabulary_, false)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              SpecialTokens special) const override {
    if (text.size() > kMaxTextBytes) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "the text has %d bytes; at most %d can be tokenized", text.size(), kMaxTextBytes));
    }
    std::string replaced;
    if (!IsValidUtf8(text)) {
      std::string pending;
      AppendValidUtf8(text, true, pending, replaced);
      text = replaced;
    }
    std::vector<int32_t> ids;
    BpeMerger::Scratch scratch;
    const SpecialTokenScanner& scanner = special == SpecialTokens::kParse ? special_ : added_;
    size_t done = 0;
    while (const auto match = scanner.Find(text, done)) {
      TRI_RETURN_IF_ERROR(EncodeText(text.substr(done, match->begin - done), scratch, ids));
      ids.push_back(match->id);
      done = match->end;
    }
    TRI_RETURN_IF_ERROR(EncodeText(text.substr(done), scratch, ids));
    return ids;
  }

  std::optional<SpecialMatch> FindSpecial(std::string_view text, size_t from) const override {
    auto match = special_.Find(text, from);
    while (match && !IsSpecial(match->id)) match = special_.Find(text, match->end);
    return match;
  }

  std::string_view TokenBytes(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) return {};
    return vocabulary_.tokens[id];
  }

  int32_t vocab_size() const override { return static_cast<int32_t>(vocabulary_.tokens.size()); }

  bool IsSpecial(int32_t id) const override {
    return id >= 0 && id < vocab_size() && vocabulary_.kinds[id] == TokenKind::kSpecial;
  }

  std::optional<int32_t> SpecialId(std::string_view text) const override {
    const auto id = special_.Id(text);
    return id && IsSpecial(*id) ? id : std::nullopt;
  }

  std::optional<int32_t> bos() const override { return vocabulary_.bos; }
  std::optional<int32_t> eos() const override { return vocabulary_.eos; }
  const std::string& chat_template() const override { return vocabulary_.chat_template; }

 private:
  // Added tokens, and with `special` the special ones too.
  static std::vector<std::pair<std::string, int32_t>> TokensOf(const BpeVocabulary& vocabulary,
                                                               bool special) {
    std::vector<std::pair<std::string, int32_t>> tokens;
    for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
      const TokenKind kind = vocabulary.kinds[id];
      if (kind != TokenKind::kAdded && !(special && kind == TokenKind::kSpecial)) continue;
      tokens.emplace_back(vocabulary.tokens[id], static_cast<int32_t>(id));
    }
    return tokens;
  }

  absl::Status EncodeText(std::string_view text, BpeMerger::Scratch& scratch,
                          std::vector<int32_t>& ids) const {
    return pre_tokenizer_.Split(
        text, [&](std::string_view piece) { merger_.Encode(piece, scratch, ids); });
  }

  const BpeVocabulary vocabulary_;
  const PreTokenizer pre_tokenizer_;
  const BpeMerger merger_;
  const SpecialTokenScanner special_;  // special and added tokens
  const SpecialTokenScanner added_;    // added tokens alone
};

absl::Status CheckTokens(const BpeVocabulary& vocabulary) {
  if (vocabulary.tokens.empty() || vocabulary.tokens.size() > BpeVocabulary::kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrFormat("%s has %d tokens; expected 1 to %d",
                                                      vocabulary.source, vocabulary.tokens.size(),
                                                      BpeVocabulary::kMaxTokens));
  }
  if (vocabulary.kinds.size() != vocabulary.tokens.size()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s has %d tokens but %d token types",
                                                      vocabulary.source, vocabulary.tokens.size(),
                                                      vocabulary.kinds.size()));
  }
  std::vector<std::string_view> whole;  // found in text as a whole
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    if (vocabulary.kinds[id] != TokenKind::kSpecial && vocabulary.kinds[id] != TokenKind::kAdded) {
      continue;
    }
    if (token.empty() || token.size() > SpecialTokenScanner::kMaxTokenBytes) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: special token %d has a text of %d bytes; expected 1 to %d", vocabulary.source, id,
          token.size(), SpecialTokenScanner::kMaxTokenBytes));
    }
    whole.push_back(token);
  }
  std::sort(whole.begin(), whole.end());
  const auto twice = std::adjacent_find(whole.begin(), whole.end());
  if (twice != whole.end()) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: special token \"%s\" has two ids",
                                                      vocabulary.source, std::string(*twice)));
  }
  return absl::OkStatus();
}

absl::Status CheckIds(const BpeVocabulary& vocabulary) {
  const auto size = static_cast<int32_t>(vocabulary.tokens.size());
  for (const auto& id : {vocabulary.bos, vocabulary.eos}) {
    if (!id || (*id >= 0 && *id < size)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: the begin- or end-of-text token is %d; the vocabulary has %d tokens",
                        vocabulary.source, *id, size));
  }
  for (const BpeVocabulary::Merge& merge : vocabulary.merges) {
    for (const int32_t id : {merge.left, merge.right, merge.merged}) {
      if (id >= 0 && id < size) continue;
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: a merge names token %d; the vocabulary has %d tokens", vocabulary.source, id, size));
    }
  }
  if (vocabulary.merging != BpeVocabulary::Merging::kByRank) return absl::OkStatus();
  std::array<bool, 256> known{};
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string& token = vocabulary.tokens[id];
    if (vocabulary.kinds[id] == TokenKind::kText && token.size() == 1) {
      known[static_cast<uint8_t>(token[0])] = true;
    }
  }
  const auto missing = std::find(known.begin(), known.end(), false);
  if (missing == known.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: no token stands for byte %d; expected one for each of the 256 bytes",
                      vocabulary.source, missing - known.begin()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(BpeVocabulary vocabulary) {
  TRI_RETURN_IF_ERROR(CheckTokens(vocabulary));
  TRI_RETURN_IF_ERROR(CheckIds(vocabulary));
  auto pre_tokenizer = PreTokenizer::Compile(vocabulary.split_patterns);
  if (!pre_tokenizer.ok()) {
    return absl::Status(pre_tokenizer.status().code(),
                        absl::StrFormat("%s: %s", vocabulary.source,
                                        std::string(pre_tokenizer.status().message())));
  }
  return std::make_unique<BpeTokenizer>(std::move(vocabulary), *std::move(pre_tokenizer));
}

}  // namespace trireme
