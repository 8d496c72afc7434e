#include "runtime/text/chat_format.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_format.h"
#include "runtime/base/log.h"
#include "runtime/base/status_macros.h"
#include "runtime/text/chat_families.h"

namespace trireme {
namespace {

struct KnownFormat {
  std::string_view name;
  std::unique_ptr<ChatFormat> (*make)();
  // Of the published template (Fingerprint below).
  uint64_t fingerprint;
  // A changed template still counts as this format when it has all of `marks` and none of
  // `foreign`.
  std::array<std::string_view, 5> marks;
  std::array<std::string_view, 5> foreign;
};

constexpr std::string_view kFunctionsMark =
    "Given the following functions, please respond with a JSON for a function call ";

// Sources: the SmolLM2-135M-Instruct GGUF; the ChatML template of HuggingFace's documentation;
// Meta's templates of Llama-3.1-8B-Instruct and Llama-3.3-70B-Instruct (one text); the Llama 4
// converter of transformers.
constexpr KnownFormat kKnownFormats[] = {
    {"chatml-smollm2",
     MakeSmolLm2Format,
     0x45ec583d4d25bc3a,
     {"loop.first and messages[0]['role'] != 'system'",
      "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>",
      "'<|im_start|>' + message['role'] + '", "message['content'] + '<|im_end|>'",
      "<|im_start|>assistant"},
     {"tool", "trim", "bos_token", "raise_exception", "think"}},
    {"chatml",
     MakeChatMlFormat,
     0xa41d6bae9b9141bc,
     {"'<|im_start|>' + message['role'] + '", "message['content'] + '<|im_end|>'",
      "<|im_start|>assistant", "add_generation_prompt", "for message in messages"},
     {"tool", "trim", "bos_token", "system", "think"}},
    {"llama3",
     MakeLlama3Format,
     0xcc0368e1ffb6b958,
     {"'<|start_header_id|>' + message['role'] + '<|end_header_id|>",
      "Cutting Knowledge Date: December 2023", "Today Date: ", kFunctionsMark, "<|eot_id|>"},
     {"<|im_start|>", "<|header_start|>", "think", "<|eot|>", "<|python_start|>"}},
    {"llama4",
     MakeLlama4Format,
     0x4e9b87806c8996ba,
     {"'<|header_start|>' + message['role'] + '<|header_end|>", kFunctionsMark, "<|python_start|>",
      "<|python_end|>", "<|eot|>"},
     {"<|im_start|>", "<|start_header_id|>", "think", "<|eot_id|>", "Today Date: "}},
};

// FNV-1a of the text without white space at its ends: stable, and no adversary chooses templates to
// collide.
uint64_t Fingerprint(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : TrimLikePython(text)) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  }
  return hash;
}

std::string KnownNames() {
  std::string names;
  for (const KnownFormat& known : kKnownFormats) {
    names += absl::StrFormat("%s%s", names.empty() ? "" : ", ", std::string(known.name));
  }
  return names;
}

// Meta's bare tokenizer.model has no template, but its family's special tokens.
std::optional<std::string_view> FormatOfSpecialTokens(const Tokenizer& tokenizer) {
  if (tokenizer.SpecialId("<|start_header_id|>") && tokenizer.SpecialId("<|eot_id|>")) {
    return "llama3";
  }
  if (tokenizer.SpecialId("<|header_start|>") && tokenizer.SpecialId("<|eot|>")) return "llama4";
  return std::nullopt;
}

absl::StatusOr<std::string_view> ChooseFormat(const Tokenizer& tokenizer) {
  const std::string& chat_template = tokenizer.chat_template();
  if (chat_template.empty()) {
    if (const auto name = FormatOfSpecialTokens(tokenizer)) return *name;
    return absl::UnimplementedError(
        "the model has no chat template, and its special tokens are not Llama 3's or 4's; send it "
        "prompts instead of messages");
  }
  const auto recognized = RecognizeTemplate(chat_template);
  if (!recognized) {
    // Quoted only as far as it names itself: a template may be long.
    return absl::UnimplementedError(absl::StrFormat(
        "the model's chat template (%d bytes, fingerprint %016x) is of no known format; known are "
        "%s; it begins: %s",
        chat_template.size(), Fingerprint(chat_template), KnownNames(),
        chat_template.substr(0, 80)));
  }
  if (!recognized->exact) {
    LogWarning("chat template differs from the published one; using the format it resembles",
               {{"format", recognized->format},
                {"fingerprint", absl::StrFormat("%016x", Fingerprint(chat_template))}});
  }
  return recognized->format;
}

}  // namespace

std::string RenderedChat::Text() const {
  std::string text;
  for (const Run& run : runs) text += run.text;
  return text;
}

std::optional<RecognizedTemplate> RecognizeTemplate(std::string_view chat_template) {
  const uint64_t fingerprint = Fingerprint(chat_template);
  const auto has = [&](std::string_view mark) {
    return chat_template.find(mark) != std::string_view::npos;
  };
  for (const KnownFormat& known : kKnownFormats) {
    if (fingerprint == known.fingerprint) return RecognizedTemplate{known.name, true};
  }
  for (const KnownFormat& known : kKnownFormats) {
    if (std::all_of(known.marks.begin(), known.marks.end(), has) &&
        std::none_of(known.foreign.begin(), known.foreign.end(), has)) {
      return RecognizedTemplate{known.name, false};
    }
  }
  return std::nullopt;
}

absl::StatusOr<std::unique_ptr<ChatFormat>> MakeChatFormatByName(std::string_view name) {
  for (const KnownFormat& known : kKnownFormats) {
    if (known.name == name) return known.make();
  }
  return absl::InvalidArgumentError(absl::StrFormat("there is no chat format \"%s\"; known are %s",
                                                    std::string(name), KnownNames()));
}

absl::StatusOr<std::unique_ptr<ChatFormat>> MakeChatFormat(const Tokenizer& tokenizer) {
  TRI_ASSIGN_OR_RETURN(const std::string_view name, ChooseFormat(tokenizer));
  TRI_ASSIGN_OR_RETURN(std::unique_ptr<ChatFormat> format, MakeChatFormatByName(name));
  for (const std::string& stop : format->stop_tokens()) {
    if (tokenizer.SpecialId(stop)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("the model's chat template is of format %s, but its tokenizer has no "
                        "special token %s: do the two belong to one model?",
                        std::string(name), stop));
  }
  return format;
}

absl::StatusOr<std::vector<int32_t>> EncodeChat(const Tokenizer& tokenizer,
                                                const RenderedChat& chat, bool parse_user) {
  if (parse_user) return tokenizer.Encode(chat.Text(), SpecialTokens::kParse);
  std::vector<int32_t> ids;
  std::string plain;  // since the last special token
  const auto encode_plain = [&]() -> absl::Status {
    TRI_ASSIGN_OR_RETURN(const std::vector<int32_t> more,
                         tokenizer.Encode(plain, SpecialTokens::kAsText));
    ids.insert(ids.end(), more.begin(), more.end());
    plain.clear();
    return absl::OkStatus();
  };
  for (const RenderedChat::Run& run : chat.runs) {
    const std::string_view text = run.text;
    size_t done = 0;
    while (!run.from_user) {
      const auto match = tokenizer.FindSpecial(text, done);
      if (!match) break;
      plain += text.substr(done, match->begin - done);
      TRI_RETURN_IF_ERROR(encode_plain());
      ids.push_back(match->id);
      done = match->end;
    }
    plain += text.substr(done);
  }
  TRI_RETURN_IF_ERROR(encode_plain());
  return ids;
}

}  // namespace trireme
