#include <charconv>
#include <initializer_list>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/bpe/pre_tokenizer.h"
#include "runtime/text/bpe/sources.h"

namespace trireme {
namespace {

constexpr size_t kLlama3Ranks = 128000;
constexpr size_t kLlama3SpecialTokens = 256;
constexpr size_t kLlama4Ranks = 200000;
constexpr size_t kLlama4SpecialTokens = 2048;

class TokenList {
 public:
  void Add(std::initializer_list<const char*> texts) {
    tokens_.insert(tokens_.end(), texts.begin(), texts.end());
  }
  // "<|" prefix "reserved_special_token_" number "|>" for the numbers [first, last].
  void AddReserved(const char* prefix, int first, int last) {
    for (int number = first; number <= last; ++number) {
      tokens_.push_back(absl::StrFormat("<|%sreserved_special_token_%d|>", prefix, number));
    }
  }
  // Reserved tokens from `first` on, until there are `size` in all.
  std::vector<std::string> FillUp(int first, size_t size) && {
    AddReserved("", first, first + static_cast<int>(size - tokens_.size()) - 1);
    return std::move(tokens_);
  }

 private:
  std::vector<std::string> tokens_;
};

std::vector<std::string> Llama3SpecialTokens() {
  TokenList list;
  list.Add({"<|begin_of_text|>", "<|end_of_text|>"});
  list.AddReserved("", 0, 1);
  list.Add({"<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>",
            "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>"});
  return std::move(list).FillUp(2, kLlama3SpecialTokens);
}

std::vector<std::string> Llama4SpecialTokens() {
  TokenList list;
  list.Add({"<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>",
            "<|fim_suffix|>", "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>",
            "<|step|>"});
  list.AddReserved("text_post_train_", 0, 5);
  list.Add({"<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>"});
  list.AddReserved("text_post_train_", 8, 68);
  list.Add({"<|image_start|>", "<|image_end|>"});
  list.AddReserved("vision_", 0, 1);
  list.Add({"<|tile_x_separator|>", "<|tile_y_separator|>"});
  list.AddReserved("vision_", 2, 5);
  list.Add({"<|image|>"});
  list.AddReserved("vision_", 6, 6);
  list.Add({"<|patch|>"});
  list.AddReserved("vision_", 7, 1047);
  list.AddReserved("reasoning_", 0, 7);
  list.Add({"<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>"});
  return std::move(list).FillUp(0, kLlama4SpecialTokens);
}

absl::Status LineError(const std::string& source, size_t line, const std::string& expected) {
  return absl::InvalidArgumentError(absl::StrFormat(
      "%s line %d: expected %s; is this a tiktoken file? (SentencePiece models are not supported: "
      "use the tokenizer.json of the same model)",
      source, line, expected));
}

// One line to its token. Ranks are 0, 1, 2, … once each, in any order.
absl::Status ReadLine(std::string_view line, size_t number, BpeVocabulary& vocabulary) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) {
    return LineError(vocabulary.source, number, "a base64 token, a space and a rank");
  }
  std::string bytes;
  if (!absl::Base64Unescape(absl::string_view(line.data(), space), &bytes) || bytes.empty()) {
    return LineError(vocabulary.source, number, "a token in base64");
  }
  const std::string_view digits = line.substr(space + 1);
  size_t rank = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      rank >= vocabulary.tokens.size()) {
    return LineError(
        vocabulary.source, number,
        absl::StrFormat("a rank below the number of lines, %d", vocabulary.tokens.size()));
  }
  if (!vocabulary.tokens[rank].empty()) {
    return LineError(vocabulary.source, number, absl::StrFormat("rank %d only once", rank));
  }
  vocabulary.tokens[rank] = std::move(bytes);
  return absl::OkStatus();
}

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) lines.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

absl::StatusOr<TiktokenFamily> FamilyOf(size_t ranks, const std::string& source,
                                        std::optional<TiktokenFamily> family) {
  std::optional<TiktokenFamily> by_ranks;
  if (ranks == kLlama3Ranks) by_ranks = TiktokenFamily::kLlama3;
  if (ranks == kLlama4Ranks) by_ranks = TiktokenFamily::kLlama4;
  if (family && by_ranks && *family != *by_ranks) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s has %d ranks, a Llama %d tokenizer, but config.json's model_type is of Llama %d; put "
        "the model's own tokenizer.model beside it",
        source, ranks, *by_ranks == TiktokenFamily::kLlama3 ? 3 : 4,
        *family == TiktokenFamily::kLlama3 ? 3 : 4));
  }
  if (family) return *family;
  if (by_ranks) return *by_ranks;
  return absl::UnimplementedError(absl::StrFormat(
      "%s has %d ranks; expected %d (Llama 3) or %d (Llama 4), or a config.json beside it whose "
      "model_type says which special tokens it has",
      source, ranks, kLlama3Ranks, kLlama4Ranks));
}

}  // namespace

std::optional<TiktokenFamily> FamilyOfModelType(std::string_view model_type) {
  if (model_type == "llama" || model_type == "mllama") return TiktokenFamily::kLlama3;
  if (model_type == "llama4" || model_type == "llama4_text") return TiktokenFamily::kLlama4;
  return std::nullopt;
}

std::vector<std::string> FamilySpecialTokens(TiktokenFamily family) {
  return family == TiktokenFamily::kLlama3 ? Llama3SpecialTokens() : Llama4SpecialTokens();
}

absl::StatusOr<BpeVocabulary> ReadTiktoken(std::string_view text, const std::string& source,
                                           std::optional<TiktokenFamily> family) {
  const std::vector<std::string_view> lines = Lines(text);
  BpeVocabulary vocabulary;
  vocabulary.source = source;
  vocabulary.tokens.resize(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    TRI_RETURN_IF_ERROR(ReadLine(lines[i], i + 1, vocabulary));
  }
  TRI_ASSIGN_OR_RETURN(const TiktokenFamily known, FamilyOf(lines.size(), source, family));
  for (std::string& special : FamilySpecialTokens(known)) {
    vocabulary.tokens.push_back(std::move(special));
  }
  vocabulary.kinds.assign(vocabulary.tokens.size(), TokenKind::kSpecial);
  std::fill_n(vocabulary.kinds.begin(), lines.size(), TokenKind::kText);
  vocabulary.merging = BpeVocabulary::Merging::kByRank;
  vocabulary.whole_piece_first = true;
  vocabulary.split_patterns = {
      std::string(known == TiktokenFamily::kLlama3 ? kLlama3Pattern : kLlama4Pattern)};
  // Both lists begin with the tokens that begin and end a text.
  vocabulary.bos = static_cast<int32_t>(lines.size());
  vocabulary.eos = static_cast<int32_t>(lines.size()) + 1;
  return vocabulary;
}

}  // namespace trireme
