// What a grammar costs: to compile it, and to fill the mask of one step. The arguments choose the
// tokenizer (0 SmolLM2, 1 Llama 4) and the grammar (0 any JSON object, 1 a schema of four
// properties with a range, a length and a list).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/sampling/grammar/grammar_compiler.h"
#include "runtime/text/tokenizer.h"

namespace trireme {
namespace {

constexpr const char* kTokenizers[] = {".cache/models/smollm2", ".cache/models/llama4"};
constexpr const char* kSchemas[] = {
    R"({"type":"object"})",
    R"({"type":"object","properties":{"name":{"type":"string","maxLength":16},"age":)"
    R"({"type":"integer","minimum":0,"maximum":130},"tags":{"type":"array","items":)"
    R"({"type":"string"},"maxItems":3},"score":{"type":"number"}},"required":["name","age"]})"};

struct Made {
  GrammarVocabulary vocabulary;
  std::unique_ptr<GrammarCompiler> compiler;
};

// Nothing where the tokenizer is absent.
Made Make(benchmark::State& state) {
  const auto tokenizer = LoadTokenizer(kTokenizers[state.range(0)]);
  if (!tokenizer.ok()) {
    state.SkipWithError("no tokenizer: run scripts/fetch_models.sh --tokenizers, and this there");
    return {};
  }
  Made made;
  made.vocabulary.token_bytes = ContentBytes(**tokenizer);
  made.vocabulary.vocab_size = (*tokenizer)->vocab_size();
  made.vocabulary.stop_tokens = {(*tokenizer)->eos().value_or(0)};
  auto compiler = GrammarCompiler::Create(made.vocabulary, {.cache_bytes = 0});
  if (!compiler.ok()) {
    state.SkipWithError(compiler.status().ToString().c_str());
    return {};
  }
  made.compiler = *std::move(compiler);
  return made;
}

void BM_Compile(benchmark::State& state) {
  const Made made = Make(state);
  if (!made.compiler) return;
  size_t bytes = 0;
  for (auto _ : state) {
    const auto grammar =
        made.compiler->Compile({GrammarSpec::Kind::kJsonSchema, kSchemas[state.range(1)], {}});
    bytes = (*grammar)->memory_bytes();
  }
  state.counters["bytes"] = static_cast<double>(bytes);
}

// Along random texts: the mask of each step, and the acceptance of a token of it.
void BM_MaskAndAccept(benchmark::State& state) {
  const Made made = Make(state);
  if (!made.compiler) return;
  const auto grammar =
      made.compiler->Compile({GrammarSpec::Kind::kJsonSchema, kSchemas[state.range(1)], {}});
  std::mt19937 random(5);
  std::vector<uint32_t> mask(GrammarMaskWords(made.vocabulary.vocab_size));
  GrammarState at(*grammar);
  std::vector<int32_t> allowed;
  for (auto _ : state) {
    at.Mask(mask);
    state.PauseTiming();
    allowed.clear();
    for (int32_t token = 0; token < made.vocabulary.vocab_size; ++token) {
      if ((mask[static_cast<size_t>(token) / 32] >> (token % 32) & 1U) != 0) {
        allowed.push_back(token);
      }
    }
    const int32_t token =
        at.may_stop() ? made.vocabulary.stop_tokens[0] : allowed[random() % allowed.size()];
    state.ResumeTiming();
    benchmark::DoNotOptimize(at.Accept(token));
    if (at.finished() || at.accepted() > 200) at = GrammarState(*grammar);
  }
}

BENCHMARK(BM_Compile)->ArgsProduct({{0, 1}, {0, 1}})->Unit(benchmark::kMillisecond);
BENCHMARK(BM_MaskAndAccept)->ArgsProduct({{0, 1}, {0, 1}})->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace trireme
