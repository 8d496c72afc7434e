#include "tests/golden/golden_case.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"

namespace trireme {

std::vector<std::vector<float>> GoldenCase::Logits(int prompt, std::string_view what) const {
  const TensorEntry* entry = logits->Find(absl::StrFormat("p%d.%s", prompt, what));
  std::vector<std::vector<float>> rows;
  if (entry == nullptr) return rows;
  TRI_CHECK(entry->view.dtype == DType::kF32);
  for (int64_t row = 0; row < entry->view.rows(); ++row) {
    const float* values = entry->view.row_as<float>(row);
    rows.emplace_back(values, values + entry->view.columns());
  }
  return rows;
}

GoldenCase LoadGoldenCase(const std::string& directory, const std::string& model_file) {
  GoldenCase golden;
  golden.name = directory.substr(directory.rfind('/') + 1);
  golden.model = model_file.empty() ? directory : directory + "/" + model_file;
  std::ifstream file(directory + "/golden.json");
  const nlohmann::json parsed = nlohmann::json::parse(file, nullptr, false);
  TRI_CHECK(parsed.is_object()) << directory << "/golden.json";
  for (const auto& prompt : parsed["prompts"]) {
    golden.prompts.push_back({.index = prompt["index"],
                              .ids = prompt["ids"],
                              .greedy = prompt["greedy"],
                              .logprobs = prompt["logprobs"]});
  }
  auto logits = SafetensorsFile::Open(directory + "/golden.safetensors");
  TRI_CHECK_OK(logits.status());
  golden.logits = *std::move(logits);
  return golden;
}

namespace {

std::string ModelsDirectory() { return std::string(TRIREME_SOURCE_DIR) + "/tests/data/models/"; }

}  // namespace

std::vector<GoldenCase> DenseGoldenCases() {
  const std::string models = ModelsDirectory();
  std::vector<GoldenCase> cases;
  for (const char* name : {"llama-tied", "llama3-tiny-bf16", "llama3-tiny-f32"}) {
    cases.push_back(LoadGoldenCase(models + name, ""));
  }
  cases.push_back(LoadGoldenCase(models + "llama3-tiny-gguf-f16", "model-f16.gguf"));
  cases.push_back(LoadGoldenCase(models + "llama3-tiny-gguf-q8_0", "model-q8_0.gguf"));
  return cases;
}

std::vector<GoldenCase> Llama4GoldenCases() {
  std::vector<GoldenCase> cases;
  for (const char* name :
       {"llama4-maverick-tiny", "llama4-multimodal-wrapper", "llama4-scout-tiny", "llama4-fp8"}) {
    cases.push_back(LoadGoldenCase(ModelsDirectory() + name, ""));
  }
  return cases;
}

std::vector<GoldenCase> AllGoldenCases() {
  std::vector<GoldenCase> cases = DenseGoldenCases();
  for (GoldenCase& golden : Llama4GoldenCases()) cases.push_back(std::move(golden));
  return cases;
}

}  // namespace trireme
