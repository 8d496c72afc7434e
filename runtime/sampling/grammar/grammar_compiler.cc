#include "runtime/sampling/grammar/grammar_compiler.h"

#include <list>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/deadline.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"
#include "runtime/sampling/grammar/ebnf/code_point_set.h"
#include "runtime/sampling/grammar/ebnf/regex_grammar.h"
#include "runtime/sampling/grammar/ebnf/schema_grammar.h"
#include "runtime/sampling/grammar/grammar_engine.h"

namespace trireme {
namespace {

// Far beyond what a compile within the limits takes: whoever waits longer waits for nothing.
constexpr int64_t kCompileWaitMs = 60'000;

absl::StatusOr<std::string> ChoicesToEbnf(const std::vector<std::string>& choices) {
  if (choices.empty() || choices.size() > kMaxChoices) {
    return absl::InvalidArgumentError(
        absl::StrFormat("choices must be 1 to %d texts; got %d", kMaxChoices, choices.size()));
  }
  std::vector<std::string> literals;
  size_t bytes = 0;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (choices[i].empty() || !IsUtf8(choices[i])) {
      return absl::InvalidArgumentError(
          absl::StrFormat("choice %d must be a text of at least one character, in UTF-8", i));
    }
    bytes += choices[i].size();
    literals.push_back(EbnfLiteral(choices[i]));
  }
  if (bytes > static_cast<size_t>(kMaxGrammarCost)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "choices must have at most %d bytes together; got %d", kMaxGrammarCost, bytes));
  }
  return absl::StrFormat("root ::= %s\n", absl::StrJoin(literals, " | "));
}

absl::StatusOr<std::string> ToEbnf(const GrammarSpec& spec) {
  size_t bytes = spec.text.size();
  for (const std::string& choice : spec.choices) bytes += choice.size();
  if (bytes > kMaxSpecBytes) {
    return absl::InvalidArgumentError(absl::StrFormat("%s must have at most %d bytes; got %d",
                                                      std::string(GrammarKindName(spec.kind)),
                                                      kMaxSpecBytes, bytes));
  }
  switch (spec.kind) {
    case GrammarSpec::Kind::kNone:
      break;
    case GrammarSpec::Kind::kJsonObject:
      return JsonObjectEbnf();
    case GrammarSpec::Kind::kJsonSchema:
      return SchemaToEbnf(spec.text);
    case GrammarSpec::Kind::kRegex: {
      TRI_ASSIGN_OR_RETURN(const RegexExpression expression,
                           RegexToEbnf(spec.text, RegexUse::kWholeText));
      return absl::StrFormat("root ::= %s\n", expression.ebnf);
    }
    case GrammarSpec::Kind::kChoice:
      return ChoicesToEbnf(spec.choices);
  }
  return absl::InvalidArgumentError("a grammar of kind none has nothing to compile");
}

}  // namespace

struct GrammarCompiler::Impl {
  struct Entry {
    GrammarSpec spec;
    std::shared_ptr<const CompiledGrammar> grammar;
  };

  Impl(std::unique_ptr<GrammarEngine> made, size_t limit)
      : engine(std::move(made)), cache_bytes(limit) {}

  std::shared_ptr<const CompiledGrammar> Find(const GrammarSpec& spec)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto found = by_spec.find(spec);
    if (found == by_spec.end()) return nullptr;
    entries.splice(entries.begin(), entries, found->second);
    return found->second->grammar;
  }

  void Keep(const GrammarSpec& spec, const std::shared_ptr<const CompiledGrammar>& grammar)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (grammar->memory_bytes() > cache_bytes) return;
    while (bytes + grammar->memory_bytes() > cache_bytes) {
      bytes -= entries.back().grammar->memory_bytes();
      by_spec.erase(entries.back().spec);
      entries.pop_back();
    }
    entries.push_front({spec, grammar});
    by_spec[spec] = entries.begin();
    bytes += grammar->memory_bytes();
  }

  const std::unique_ptr<GrammarEngine> engine;
  const size_t cache_bytes;

  mutable Mutex mutex;
  CondVar compiled;
  // Most recently used first.
  std::list<Entry> entries ABSL_GUARDED_BY(mutex);
  absl::flat_hash_map<GrammarSpec, std::list<Entry>::iterator> by_spec ABSL_GUARDED_BY(mutex);
  size_t bytes ABSL_GUARDED_BY(mutex) = 0;
  // What some thread is compiling now.
  absl::flat_hash_set<GrammarSpec> compiling ABSL_GUARDED_BY(mutex);
};

GrammarCompiler::GrammarCompiler(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrammarCompiler::~GrammarCompiler() = default;

absl::StatusOr<std::unique_ptr<GrammarCompiler>> GrammarCompiler::Create(
    GrammarVocabulary vocabulary, const GrammarCompilerOptions& options) {
  TRI_ASSIGN_OR_RETURN(std::unique_ptr<GrammarEngine> engine,
                       GrammarEngine::Create(std::move(vocabulary), options.threads));
  return std::unique_ptr<GrammarCompiler>(
      new GrammarCompiler(std::make_unique<Impl>(std::move(engine), options.cache_bytes)));
}

absl::StatusOr<std::shared_ptr<const CompiledGrammar>> GrammarCompiler::Compile(
    const GrammarSpec& spec) {
  const Deadline deadline = Deadline::AfterMs(kCompileWaitMs);
  {
    MutexLock lock(impl_->mutex);
    while (true) {
      if (auto grammar = impl_->Find(spec)) return grammar;
      if (!impl_->compiling.contains(spec)) break;
      if (!impl_->compiled.WaitUntil(impl_->mutex, deadline)) {
        return absl::DeadlineExceededError(absl::StrFormat(
            "%s: compiling it takes too long", std::string(GrammarKindName(spec.kind))));
      }
    }
    impl_->compiling.insert(spec);
  }
  const auto compile = [&]() -> absl::StatusOr<std::shared_ptr<const CompiledGrammar>> {
    TRI_ASSIGN_OR_RETURN(const std::string ebnf, ToEbnf(spec));
    TRI_ASSIGN_OR_RETURN(auto grammar, impl_->engine->Compile(ebnf));
    return std::shared_ptr<const CompiledGrammar>(std::move(grammar));
  };
  auto grammar = compile();
  MutexLock lock(impl_->mutex);
  impl_->compiling.erase(spec);
  if (grammar.ok()) impl_->Keep(spec, *grammar);
  impl_->compiled.NotifyAll();
  return grammar;
}

size_t GrammarCompiler::cached_bytes() const {
  MutexLock lock(impl_->mutex);
  return impl_->bytes;
}

}  // namespace trireme
