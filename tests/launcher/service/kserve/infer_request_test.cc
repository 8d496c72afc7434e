#include "launcher/service/kserve/infer_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using inference::ModelInferRequest;
using testing::ElementsAre;
using testing::HasSubstr;
using Tensor = ModelInferRequest::InferInputTensor;

Tensor& Add(ModelInferRequest& request, const std::string& name, const std::string& datatype,
            const std::vector<int64_t>& shape) {
  Tensor& tensor = *request.add_inputs();
  tensor.set_name(name);
  tensor.set_datatype(datatype);
  tensor.mutable_shape()->Add(shape.begin(), shape.end());
  return tensor;
}

void AddText(ModelInferRequest& request, const std::string& name, const std::string& text) {
  Add(request, name, "BYTES", {1}).mutable_contents()->add_bytes_contents(text);
}

ModelInferRequest Asking(const std::string& prompt = "Hello") {
  ModelInferRequest request;
  request.set_model_name("m");
  AddText(request, "text_input", prompt);
  return request;
}

ModelInferRequest AskingRaw(const std::string& raw, const std::vector<int64_t>& shape = {1}) {
  ModelInferRequest request;
  Add(request, "text_input", "BYTES", shape);
  request.add_raw_input_contents(raw);
  return request;
}

ModelInferRequest WithParameters(const std::string& json) {
  ModelInferRequest request = Asking();
  AddText(request, "sampling_parameters", json);
  return request;
}

TEST(InferRequest, AsksForThePromptAndSixteenTokensWhereNothingElseIsSaid) {
  const auto read = ReadInferRequest(Asking("Hello"));
  ASSERT_OK(read);
  EXPECT_EQ(read->generate.prompt(), "Hello");
  EXPECT_EQ(read->generate.max_tokens(), 16);
  EXPECT_TRUE(read->generate.echo());
  EXPECT_FALSE(read->stream);
  EXPECT_FALSE(read->form.raw);
  EXPECT_TRUE(read->form.text);
  EXPECT_TRUE(read->form.finish_reason);
  EXPECT_FALSE(read->form.output_tokens);
}

TEST(InferRequest, StreamsWithoutThePrompt) {
  for (const char* name : {"stream", "streaming"}) {
    ModelInferRequest request = Asking();
    Add(request, name, "BOOL", {1}).mutable_contents()->add_bool_contents(true);
    const auto read = ReadInferRequest(request);
    ASSERT_OK(read);
    EXPECT_TRUE(read->stream);
    EXPECT_FALSE(read->generate.echo());
  }
}

TEST(InferRequest, ReadsRawContentsAndAnswersInThem) {
  ModelInferRequest request = AskingRaw(std::string("\x02\0\0\0hi", 6), {1, 1});
  Add(request, "max_tokens", "INT32", {1});
  request.add_raw_input_contents(std::string("\x07\0\0\0", 4));
  Add(request, "top_p", "FP64", {1});
  request.add_raw_input_contents(std::string("\0\0\0\0\0\0\xe0\x3f", 8));
  const auto read = ReadInferRequest(request);
  ASSERT_OK(read);
  EXPECT_EQ(read->generate.prompt(), "hi");
  EXPECT_EQ(read->generate.max_tokens(), 7);
  EXPECT_EQ(read->generate.sampling().top_p(), 0.5f);
  EXPECT_TRUE(read->form.raw);
}

TEST(InferRequest, ParametersAreReadUnderTheirCustomaryNamesWithNumbersInAnyForm) {
  const auto read = ReadInferRequest(WithParameters(
      R"({"max_tokens": "32", "min_tokens": "4", "temperature": "0.5", "top_k": -1, "seed": 9,
          "stop": "x", "stop_token_ids": [1, "2", 3.0], "n": 2, "ignore_eos": true,
          "presence_penalty": null})"));
  ASSERT_OK(read);
  EXPECT_EQ(read->generate.max_tokens(), 32);
  EXPECT_EQ(read->generate.min_tokens(), 4);
  EXPECT_EQ(read->generate.sampling().temperature(), 0.5f);
  EXPECT_EQ(read->generate.sampling().top_k(), 0);
  EXPECT_EQ(read->generate.sampling().seed(), 9);
  EXPECT_THAT(read->generate.stop(), ElementsAre("x"));
  EXPECT_THAT(read->generate.stop_tokens(), ElementsAre(1, 2, 3));
  EXPECT_EQ(read->generate.n(), 2);
  EXPECT_TRUE(read->generate.ignore_eos());
  EXPECT_FALSE(read->generate.sampling().has_presence_penalty());
}

TEST(InferRequest, ATensorWinsOverTheParameters) {
  ModelInferRequest request;
  Add(request, "max_tokens", "INT64", {1}).mutable_contents()->add_int64_contents(3);
  Add(request, "stop_words", "BYTES", {2}).mutable_contents()->add_bytes_contents("a");
  request.mutable_inputs(1)->mutable_contents()->add_bytes_contents("b");
  AddText(request, "sampling_parameters", R"({"max_tokens": 99, "stop": ["x", "y", "z"]})");
  AddText(request, "text_input", "Hello");
  const auto read = ReadInferRequest(request);
  ASSERT_OK(read);
  EXPECT_EQ(read->generate.max_tokens(), 3);
  EXPECT_THAT(read->generate.stop(), ElementsAre("a", "b"));
}

struct BadRequest {
  const char* what;
  std::function<ModelInferRequest()> request;
  const char* message;
  absl::StatusCode code = absl::StatusCode::kInvalidArgument;
};

// A request with one more tensor of these contents.
ModelInferRequest With(const std::string& name, const std::string& datatype,
                       const std::vector<int64_t>& shape,
                       const std::function<void(inference::InferTensorContents&)>& fill) {
  ModelInferRequest request = Asking();
  fill(*Add(request, name, datatype, shape).mutable_contents());
  return request;
}

const auto kOne = [](inference::InferTensorContents& contents) { contents.add_int_contents(1); };
constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

std::vector<BadRequest> BadTensors() {
  return {
      {"no prompt", [] { return ModelInferRequest(); }, "text_input"},
      {"invalid UTF-8", [] { return Asking("\xff\xfe"); }, "text_input: expected text in UTF-8"},
      {"a tensor twice",
       [] {
         auto r = Asking();
         AddText(r, "text_input", "x");
         return r;
       },
       "given twice"},
      {"an unknown tensor", [] { return With("image", "INT32", {1}, kOne); }, "inputs[1]"},
      {"a datatype that does not fit", [] { return With("max_tokens", "FP32", {1}, kOne); },
       "max_tokens: expected datatype INT32"},
      {"a datatype that lies", [] { return With("max_tokens", "INT64", {1}, kOne); }, "max_tokens"},
      {"no datatype", [] { return With("max_tokens", "", {1}, kOne); }, "expected datatype"},
      {"a shape of nothing", [] { return With("max_tokens", "INT32", {0}, kOne); }, "max_tokens"},
      {"no shape", [] { return With("max_tokens", "INT32", {}, kOne); }, "dimensions"},
      {"a negative size", [] { return With("max_tokens", "INT32", {-1}, kOne); }, "max_tokens"},
      {"two negative sizes",
       [] {
         return With("max_tokens", "INT32", {-1, -1}, kOne);
       },
       "max_tokens"},
      {"sizes whose product wraps",
       [] {
         return With("max_tokens", "INT32", {kHuge, kHuge, 2}, kOne);
       },
       "max_tokens"},
      {"sizes whose product wraps to one",
       [] {
         return With("max_tokens", "INT32", {1LL << 32, 1LL << 32, 1}, kOne);
       },
       "max_tokens"},
      {"a shape of more than its contents", [] { return With("stop_words", "BYTES", {2}, kOne); },
       "stop_words"},
      {"contents of two datatypes",
       [] {
         return With("max_tokens", "INT32", {1}, [](inference::InferTensorContents& contents) {
           contents.add_int_contents(1);
           contents.add_bool_contents(true);
         });
       },
       "max_tokens"},
      {"too many dimensions",
       [] { return With("max_tokens", "INT32", std::vector<int64_t>(9, 1), kOne); }, "dimensions"},
      {"more elements than a list may have",
       [] { return With("stop_words", "BYTES", {100'000}, kOne); }, "stop_words"},
      {"raw bytes without a length", [] { return AskingRaw("hi"); }, "4 bytes of length"},
      {"a raw length that lies", [] { return AskingRaw(std::string("\xff\xff\xff\xffhi", 6)); },
       "says that it has"},
      {"raw bytes after the last element", [] { return AskingRaw(std::string("\x01\0\0\0hi", 6)); },
       "follow its last element"},
      {"no raw bytes", [] { return AskingRaw(""); }, "text_input"},
      {"raw bytes for some inputs only",
       [] {
         auto r = AskingRaw(std::string("\0\0\0\0", 4));
         r.add_inputs();
         return r;
       },
       "raw_input_contents"},
      {"contents beside raw bytes",
       [] {
         auto r = Asking();
         r.add_raw_input_contents("x");
         return r;
       },
       "got both"},
      {"half a raw number",
       [] {
         auto r = AskingRaw(std::string("\0\0\0\0", 4));
         Add(r, "max_tokens", "INT32", {1});
         r.add_raw_input_contents("\x07");
         return r;
       },
       "expected 4 bytes"},
  };
}

std::vector<BadRequest> BadParameters() {
  return {
      {"parameters that are no JSON", [] { return WithParameters("{"); }, "sampling_parameters"},
      {"parameters that are no object", [] { return WithParameters("[]"); }, "sampling_parameters"},
      {"deep parameters", [] { return WithParameters(std::string(10'000, '[')); },
       "sampling_parameters"},
      {"large parameters", [] { return WithParameters(std::string(100'000, ' ')); },
       "sampling_parameters"},
      {"a key twice", [] { return WithParameters(R"({"n": 1, "n": 2})"); }, "sampling_parameters"},
      {"an unknown key", [] { return WithParameters(R"({"best_of": 4})"); }, "a key is not known"},
      {"a number that is none", [] { return WithParameters(R"({"max_tokens": "many"})"); },
       "sampling_parameters.max_tokens"},
      {"a fraction of tokens", [] { return WithParameters(R"({"max_tokens": 1.5})"); },
       "sampling_parameters.max_tokens"},
      {"more tokens than 32 bits hold", [] { return WithParameters(R"({"max_tokens": 1e300})"); },
       "sampling_parameters.max_tokens"},
      {"a list for a number", [] { return WithParameters(R"({"temperature": [1]})"); },
       "sampling_parameters.temperature"},
      {"a negative seed", [] { return WithParameters(R"({"seed": -1})"); },
       "sampling_parameters.seed"},
      {"beams",
       [] { return With("beam_width", "INT32", {1}, [](auto& c) { c.add_int_contents(4); }); },
       "beam_width"},
      {"shared memory",
       [] {
         auto r = Asking();
         (*r.mutable_inputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("x");
         return r;
       },
       "shared memory", absl::StatusCode::kUnimplemented},
      {"a sequence",
       [] {
         auto r = Asking();
         (*r.mutable_parameters())["sequence_id"].set_int64_param(5);
         return r;
       },
       "sequences", absl::StatusCode::kUnimplemented},
      {"a negative timeout",
       [] {
         auto r = Asking();
         (*r.mutable_parameters())["timeout"].set_int64_param(-5);
         return r;
       },
       "timeout"},
      {"an unknown output",
       [] {
         auto r = Asking();
         r.add_outputs()->set_name("logits");
         return r;
       },
       "outputs[0]"},
      {"an unknown version",
       [] {
         auto r = Asking();
         r.set_model_version("7");
         return r;
       },
       "model_version", absl::StatusCode::kNotFound},
  };
}

TEST(InferRequest, RefusesWhatContradictsItselfAndNamesIt) {
  for (const auto& table : {BadTensors(), BadParameters()}) {
    for (const BadRequest& bad : table) {
      const auto read = ReadInferRequest(bad.request());
      EXPECT_EQ(read.status().code(), bad.code) << bad.what << ": " << read.status();
      EXPECT_THAT(std::string(read.status().message()), HasSubstr(bad.message)) << bad.what;
    }
  }
}

TEST(InferRequest, RefusesAStreamThatRepeatsThePrompt) {
  ModelInferRequest request = Asking();
  Add(request, "stream", "BOOL", {1}).mutable_contents()->add_bool_contents(true);
  Add(request, "exclude_input_in_output", "BOOL", {1}).mutable_contents()->add_bool_contents(false);
  EXPECT_EQ(ReadInferRequest(request).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace trireme
