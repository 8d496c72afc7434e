#include "launcher/request/request_flags.h"

#include <CLI/CLI.hpp>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "launcher/request/limits.h"

namespace trireme {
namespace {

// "ID=V", as in --logit-bias.
std::optional<std::pair<int32_t, float>> ParseBias(const std::string& text) {
  const size_t equals = text.find('=');
  std::pair<int32_t, float> bias;
  if (equals == std::string::npos || !absl::SimpleAtoi(text.substr(0, equals), &bias.first) ||
      !absl::SimpleAtof(text.substr(equals + 1), &bias.second)) {
    return std::nullopt;
  }
  return bias;
}

// The schema itself, or what the file of that name holds (no more of it than may be sent).
std::optional<std::string> SchemaOf(const std::string& text) {
  if (text.find('{') != std::string::npos) return text;
  std::ifstream file(text, std::ios::binary);
  if (!file) return std::nullopt;
  std::string schema(kMaxSchemaBytes + 1, '\0');
  file.read(schema.data(), static_cast<std::streamsize>(schema.size()));
  schema.resize(static_cast<size_t>(file.gcount()));
  return schema;
}

void AddSamplingFlags(CLI::App& app, v1::SamplingParams& sampling) {
  app.add_option_function<float>(
      "--temperature", [&](float value) { sampling.set_temperature(value); },
      "0 (default): greedy");
  app.add_option_function<int32_t>(
      "--top-k", [&](int32_t value) { sampling.set_top_k(value); }, "0 (default): off");
  app.add_option_function<float>(
      "--top-p", [&](float value) { sampling.set_top_p(value); }, "1 (default): off");
  app.add_option_function<float>(
      "--min-p", [&](float value) { sampling.set_min_p(value); }, "0 (default): off");
  app.add_option_function<uint64_t>(
      "--seed", [&](uint64_t value) { sampling.set_seed(value); }, "of the draws");
  app.add_option_function<float>(
      "--repetition-penalty", [&](float value) { sampling.set_repetition_penalty(value); },
      "divides the logits of tokens in prompt or completion; 1 (default): off");
  app.add_option_function<float>(
      "--frequency-penalty", [&](float value) { sampling.set_frequency_penalty(value); },
      "subtracted for each time the completion holds a token; 0 (default): off");
  app.add_option_function<float>(
      "--presence-penalty", [&](float value) { sampling.set_presence_penalty(value); },
      "subtracted from tokens the completion holds; 0 (default): off");
}

// One of them: they are a oneof.
void AddConstraintFlags(CLI::App& app, v1::Constraint& constraint) {
  auto* group = app.add_option_group("constraint")->require_option(0, 1);
  group->add_flag_callback(
      "--json-object", [&] { constraint.set_json_object(true); }, "the completion is one");
  group
      ->add_option_function<std::string>(
          "--json-schema",
          [&](const std::string& text) { constraint.set_json_schema(SchemaOf(text).value_or("")); },
          "FILE or TEXT: the completion is JSON that it accepts")
      ->check([](const std::string& text) {
        return SchemaOf(text).has_value() ? "" : "expected a schema or a file; cannot open " + text;
      });
  group->add_option_function<std::string>(
      "--regex", [&](const std::string& text) { constraint.set_regex(text); },
      "the completion matches it as a whole");
  group
      ->add_option_function<std::vector<std::string>>(
          "--choice",
          [&](const std::vector<std::string>& texts) {
            constraint.mutable_choices()->mutable_values()->Add(texts.begin(), texts.end());
          },
          "the completion is one of these; repeat it")
      ->allow_extra_args(false);
}

}  // namespace

template <typename RequestProto>
void AddRequestFlags(CLI::App& app, RequestProto& request) {
  AddSamplingFlags(app, *request.mutable_sampling());
  app.add_option_function<std::vector<std::string>>(
         "--logit-bias",
         [&](const std::vector<std::string>& biases) {
           for (const std::string& text : biases) {
             const auto bias = ParseBias(text);
             if (bias) (*request.mutable_logit_bias())[bias->first] = bias->second;
           }
         },
         "ID=V,…: added to the logits of tokens; -inf bans one")
      ->delimiter(',')
      ->check([](const std::string& text) {
        return ParseBias(text) ? ""
                               : absl::StrFormat("expected ID=V, such as 42=-1.5; got %s", text);
      });
  app.add_option_function<int32_t>(
      "--min-tokens", [&](int32_t value) { request.set_min_tokens(value); },
      "no stop before so many");
  app.add_option_function<std::vector<std::string>>(
         "--stop",
         [&](const std::vector<std::string>& texts) {
           request.mutable_stop()->Add(texts.begin(), texts.end());
         },
         "ends the completion before this text; repeat it for more")
      ->allow_extra_args(false);
  app.add_option_function<int32_t>(
      "--priority", [&](int32_t value) { request.set_priority(value); }, "lower goes first");
  AddConstraintFlags(app, *request.mutable_constraint());
}

template void AddRequestFlags(CLI::App& app, v1::GenerateRequest& request);
template void AddRequestFlags(CLI::App& app, v1::ChatRequest& request);

}  // namespace trireme
