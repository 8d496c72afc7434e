// What the coordinator tells about requests and groups, asked as an operator would.
#include "launcher/client/inference_client.h"
#include "tests/launcher/service/service_fixture.h"

namespace trireme {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

class MetricsTest : public ServiceTest {
 protected:
  // The page, once `line` is in it (heartbeats are 50 ms apart).
  std::string PageWith(const std::string& line) {
    InferenceClient client({.server = server_->address()});
    const Deadline deadline = Deadline::After(kPatience);
    std::string page;
    do {
      page = *client.Metrics(Deadline::After(kPatience));
    } while (page.find(line) == std::string::npos && !deadline.Passed());
    return page;
  }
};

TEST_F(MetricsTest, ShowsRequestsAndGroups) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  ASSERT_TRUE(Generate(Request(8)).status.ok());
  ASSERT_EQ(Generate(Request(-1)).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const std::string page =
      PageWith("prefix_cache_queries_total{model_name=\"smollm2\",engine=\"a\"} 2");
  for (const char* line : {
           "trireme:generation_tokens_total{model_name=\"smollm2\"} 8\n",
           "trireme:prompt_tokens_total{model_name=\"smollm2\"} 3\n",
           "trireme:request_success_total{model_name=\"smollm2\",finished_reason=\"length\"} 1\n",
           "trireme:requests_refused_total{model_name=\"smollm2\",reason=\"invalid\"} 1\n",
           "trireme:group_ready{model_name=\"smollm2\",engine=\"a\"} 1\n",
           "trireme:num_requests_running{model_name=\"smollm2\",engine=\"a\"} 0\n",
           "trireme:requests_held{model_name=\"smollm2\"} 0\n",
           "# TYPE trireme:kv_cache_usage_perc gauge\n",
           "# TYPE trireme:time_to_first_token_seconds histogram\n",
       }) {
    EXPECT_THAT(page, HasSubstr(line));
  }
  EXPECT_THAT(page,
              ContainsRegex("trireme:steps_total\\{model_name=\"smollm2\",engine=\"a\"\\} [1-9]"));
}

TEST_F(MetricsTest, UsageSaysWhatOfThePromptWasCached) {
  TestGroup group(server_->address(), "a");
  ASSERT_TRUE(WaitUntilServing());
  v1::GenerateRequest request;
  for (int32_t id = 0; id < 33; ++id) request.mutable_prompt_tokens()->add_ids(id + 100);
  request.set_max_tokens(2);
  EXPECT_EQ(Generate(request).last.usage().cached_tokens(), 0);
  const v1::Usage usage = Generate(request).last.usage();
  EXPECT_EQ(usage.prompt_tokens(), 33);
  EXPECT_EQ(usage.cached_tokens(), 32) << "all but the row that gives the first token";
  grpc::ClientContext context;
  v1::GenerateResponse whole;
  ASSERT_TRUE(stub_->GenerateUnary(&context, request, &whole).ok());
  EXPECT_EQ(whole.usage().cached_tokens(), 32);
}

}  // namespace
}  // namespace trireme
