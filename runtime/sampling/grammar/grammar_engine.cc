#include "runtime/sampling/grammar/grammar_engine.h"

#include <dlpack/dlpack.h>
#include <xgrammar/compiler.h>
#include <xgrammar/matcher.h>
#include <xgrammar/tokenizer_info.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/base/log.h"

// What the library does with its messages when it is built with XGRAMMAR_LOG_CUSTOMIZE (see
// scripts/build_xgrammar.sh).
namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string& file, int line, const std::string& message) {
  // The library expects an exception here, and the calls below catch it.
  std::rethrow_exception(std::make_exception_ptr(
      std::runtime_error(absl::StrFormat("%s (%s:%d)", message, file, line))));
}

// Where it warns, not what it says: that may quote a client's grammar or text.
void LogMessageImpl(const std::string& file, int line, int /*level*/, const std::string&) {
  trireme::LogDebug("xgrammar warned", {{"file", file}, {"line", line}});
}

}  // namespace xgrammar

namespace trireme {
namespace {

// Runs what calls the library; false and the reason when it threw.
template <typename F>
bool Caught(std::string& reason, const F& call) {
  try {
    call();
    return true;
  } catch (const std::exception& error) {
    reason = error.what();
  } catch (...) {
    reason = "an exception of unknown type";
  }
  return false;
}

absl::Status CheckVocabulary(const GrammarVocabulary& vocabulary) {
  const auto size = static_cast<int64_t>(vocabulary.token_bytes.size());
  if (vocabulary.vocab_size <= 0 || vocabulary.vocab_size < size) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "grammar: the vocabulary must have at least its %d tokens; got vocab_size %d", size,
        vocabulary.vocab_size));
  }
  if (vocabulary.stop_tokens.empty()) {
    return absl::InvalidArgumentError(
        "grammar: the vocabulary has no stop token, so a constrained text could never end");
  }
  for (const int32_t token : vocabulary.stop_tokens) {
    if (token < 0 || token >= vocabulary.vocab_size) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "grammar: stop token %d is outside the vocabulary of %d", token, vocabulary.vocab_size));
    }
  }
  return absl::OkStatus();
}

}  // namespace

struct CompiledGrammar::Impl {
  xgrammar::CompiledGrammar grammar;
  std::vector<int32_t> stop_tokens;
  int32_t vocab_size;
};

CompiledGrammar::CompiledGrammar(std::unique_ptr<const Impl> impl, size_t memory_bytes)
    : impl_(std::move(impl)), memory_bytes_(memory_bytes) {}
CompiledGrammar::~CompiledGrammar() = default;
int32_t CompiledGrammar::vocab_size() const { return impl_->vocab_size; }

struct GrammarEngine::Impl {
  Impl(GrammarVocabulary tokens, int threads_of_compile)
      : vocabulary(std::move(tokens)), threads(threads_of_compile) {}

  // The library's own, made when it is first needed: sorting the vocabulary takes time and memory
  // that a group which serves no constrained request does not spend. Null: `reason` says why.
  xgrammar::GrammarCompiler* Compiler() {
    std::call_once(once, [this] {
      Caught(reason, [this] {
        const xgrammar::TokenizerInfo tokens(vocabulary.token_bytes, xgrammar::VocabType::RAW,
                                             vocabulary.vocab_size, vocabulary.stop_tokens);
        // Its own cache is off: GrammarCompiler's is bounded by what a grammar holds, and asked
        // earlier.
        compiler.emplace(tokens, threads, /*cache_enabled=*/false);
      });
    });
    return compiler ? &*compiler : nullptr;
  }

  const GrammarVocabulary vocabulary;
  const int threads;
  std::once_flag once;
  std::optional<xgrammar::GrammarCompiler> compiler;
  std::string reason;
};

GrammarEngine::GrammarEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrammarEngine::~GrammarEngine() = default;

absl::StatusOr<std::unique_ptr<GrammarEngine>> GrammarEngine::Create(GrammarVocabulary vocabulary,
                                                                     int threads) {
  if (absl::Status status = CheckVocabulary(vocabulary); !status.ok()) return status;
  // Tokens without bytes are what the library calls special: never allowed.
  vocabulary.token_bytes.resize(static_cast<size_t>(vocabulary.vocab_size));
  return std::unique_ptr<GrammarEngine>(
      new GrammarEngine(std::make_unique<Impl>(std::move(vocabulary), std::max(threads, 1))));
}

absl::StatusOr<std::unique_ptr<const CompiledGrammar>> GrammarEngine::Compile(
    const std::string& ebnf) const {
  xgrammar::GrammarCompiler* const compiler = impl_->Compiler();
  if (compiler == nullptr) {
    return absl::InternalError(absl::StrFormat("grammar: no vocabulary made: %s", impl_->reason));
  }
  std::unique_ptr<const CompiledGrammar> compiled;
  std::string reason;
  const bool made = Caught(reason, [&] {
    const xgrammar::CompiledGrammar grammar = compiler->CompileGrammar(ebnf, "root");
    compiled = std::make_unique<const CompiledGrammar>(
        std::make_unique<const CompiledGrammar::Impl>(CompiledGrammar::Impl{
            grammar, impl_->vocabulary.stop_tokens, impl_->vocabulary.vocab_size}),
        grammar.MemorySizeBytes());
  });
  if (!made) return absl::InternalError(absl::StrFormat("grammar: not compiled: %s", reason));
  return compiled;
}

struct GrammarState::Impl {
  xgrammar::GrammarMatcher matcher;
  // The library failed on this state: it counts as finished, so that the sequence ends.
  bool failed = false;

  template <typename F>
  bool Try(const F& call) {
    std::string reason;
    if (Caught(reason, call)) return true;
    LogError("grammar state failed; its sequence ends");
    failed = true;
    return false;
  }
};

GrammarState::GrammarState(std::shared_ptr<const CompiledGrammar> grammar)
    : grammar_(std::move(grammar)),
      impl_(std::make_unique<Impl>(Impl{xgrammar::GrammarMatcher(grammar_->impl_->grammar)})) {}
GrammarState::GrammarState(std::shared_ptr<const CompiledGrammar> grammar,
                           std::unique_ptr<Impl> impl, int64_t accepted)
    : grammar_(std::move(grammar)), impl_(std::move(impl)), accepted_(accepted) {}
GrammarState::GrammarState(GrammarState&&) noexcept = default;
GrammarState& GrammarState::operator=(GrammarState&&) noexcept = default;
GrammarState::~GrammarState() = default;

bool GrammarState::finished() const { return impl_->failed || impl_->matcher.IsTerminated(); }
bool GrammarState::may_stop() const { return !finished() && impl_->matcher.IsCompleted(); }

bool GrammarState::Accept(int32_t token) {
  if (finished() || token < 0 || token >= grammar_->vocab_size()) return false;
  bool accepted = false;
  if (!impl_->Try([&] { accepted = impl_->matcher.AcceptToken(token); }) || !accepted) return false;
  ++accepted_;
  return true;
}

void GrammarState::Mask(std::span<uint32_t> bits) {
  TRI_CHECK(bits.size() == GrammarMaskWords(grammar_->vocab_size())) << bits.size();
  if (!finished()) {
    static_assert(sizeof(uint32_t) == sizeof(int32_t));
    int64_t shape[] = {static_cast<int64_t>(bits.size())};
    DLTensor tensor{};
    tensor.data = bits.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = 1;
    tensor.dtype = {kDLInt, 32, 1};
    tensor.shape = shape;
    if (impl_->Try([&] { impl_->matcher.FillNextTokenBitmask(&tensor); })) {
      // The library may leave the bits beyond the vocabulary set.
      if (const int32_t used = grammar_->vocab_size() % 32; used != 0) {
        bits.back() &= (1U << used) - 1;
      }
      return;
    }
  }
  std::fill(bits.begin(), bits.end(), 0);
  for (const int32_t token : grammar_->impl_->stop_tokens) {
    bits[static_cast<size_t>(token) / 32] |= 1U << (token % 32);
  }
}

void GrammarState::Rollback(int64_t tokens) {
  TRI_CHECK(tokens >= 0 && tokens <= accepted_) << tokens << " of " << accepted_;
  if (tokens == 0) return;
  if (impl_->Try([&] { impl_->matcher.Rollback(static_cast<int>(tokens)); })) accepted_ -= tokens;
}

GrammarState GrammarState::Clone() const {
  return GrammarState(grammar_, std::make_unique<Impl>(Impl{impl_->matcher.Fork(), impl_->failed}),
                      accepted_);
}

}  // namespace trireme
