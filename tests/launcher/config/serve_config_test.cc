#include "launcher/config/serve_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/status_matchers.h"
#include "tests/support/temp_directory.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

using Overrides = std::vector<std::pair<std::string, std::string>>;

class ServeConfigTest : public testing::Test {
 protected:
  absl::StatusOr<ServeConfigFile> Load(std::string_view text, const Overrides& overrides = {}) {
    path_ = directory_.Write("serve.yaml", text);
    return LoadServeConfig(path_, overrides);
  }
  // "FILE:LINE: "
  std::string At(int line) const { return path_ + ":" + std::to_string(line) + ": "; }

  TempDirectory directory_;
  std::string path_;
};

TEST_F(ServeConfigTest, FillsInDefaultsAndOneGroup) {
  const auto loaded = Load("model: some/path\n");
  ASSERT_OK(loaded);
  EXPECT_EQ(loaded->config.model(), "some/path");
  EXPECT_EQ(loaded->config.listen(), "127.0.0.1:50051");
  EXPECT_FALSE(loaded->config.insecure());
  ASSERT_EQ(loaded->config.groups_size(), 1);
  EXPECT_EQ(loaded->config.groups(0).name(), "local");
  EXPECT_EQ(loaded->config.groups(0).compute(), "native");
  EXPECT_TRUE(loaded->config.groups(0).prefix_cache());
  EXPECT_FALSE(loaded->config.groups(0).isolate_tenants());
  EXPECT_EQ(loaded->config.groups(0).speculate(), 0);
  EXPECT_EQ(loaded->config.groups(0).max_step_tokens(), 256);
  EXPECT_EQ(loaded->config.groups(0).kv_dtype(), "auto");
  EXPECT_EQ(loaded->config.restart().max_restarts(), 5);
  EXPECT_EQ(loaded->config.limits().max_requests(), 1024);
}

TEST_F(ServeConfigTest, ReadsNestedKeysAndLists) {
  const auto loaded = Load(
      "model: m\n"
      "groups:\n"
      "  - name: a\n"
      "    tp: 2\n"
      "    mpirun_flags: [--host, 'x,y']\n"
      "  - name: b\n"
      "restart:\n"
      "  max_restarts: 0\n");
  ASSERT_OK(loaded);
  ASSERT_EQ(loaded->config.groups_size(), 2);
  EXPECT_EQ(loaded->config.groups(0).tp(), 2);
  EXPECT_THAT(loaded->config.groups(0).mpirun_flags(), ElementsAre("--host", "x,y"));
  EXPECT_EQ(loaded->config.groups(1).tp(), 0);
  EXPECT_EQ(loaded->config.restart().max_restarts(), 0);
}

TEST_F(ServeConfigTest, UnknownKeyNamesFileLineAndKnownKeys) {
  EXPECT_THAT(Load("model: m\nmodle: n\n"),
              StatusIs(kInvalid, AllOf(HasSubstr(At(2)), HasSubstr("unknown key 'modle'"),
                                       HasSubstr("model_name"))));
  EXPECT_THAT(Load("model: m\ngroups:\n  - name: a\n    tpp: 2\n"),
              StatusIs(kInvalid, AllOf(HasSubstr(At(4)), HasSubstr("groups[0].tpp"))));
}

TEST_F(ServeConfigTest, RefusesWrongTypesAndRanges) {
  const struct {
    const char* text;
    int line;
    const char* cause;
  } cases[] = {
      {"model: m\ngroups: 3\n", 2, "groups: expected a list"},
      {"model: [m]\n", 1, "model: expected text; got a list"},
      {"model: m\ninsecure: maybe\n", 2, "true or false; got 'maybe'"},
      {"model: m\ngroups:\n  - tp: -1\n", 3, "whole number from 0 to 1024; got '-1'"},
      {"model: m\ngroups:\n  - tp: 2.5\n", 3, "got '2.5'"},
      {"model: m\ngroups:\n  - tp: 99999999999999999999\n", 3, "groups[0].tp"},
      {"model: m\ngroups:\n\n  - compute: fp16\n", 4, "one of native, fp32; got 'fp16'"},
      {"model: m\ngroups:\n  - kv_dtype: fp8\n", 3, "one of auto, f32, f16, q8_0; got 'fp8'"},
      {"model: m\nrestart: 5\n", 2, "restart: expected keys with values"},
      {"model: m\nmodel: n\n", 2, "given twice"},
      {"model: m\nlimits: {max_requests: 0}\n", 2, "limits.max_requests"},
  };
  for (const auto& test_case : cases) {
    EXPECT_THAT(Load(test_case.text), StatusIs(kInvalid, AllOf(HasSubstr(At(test_case.line)),
                                                               HasSubstr(test_case.cause))))
        << test_case.text;
  }
}

TEST_F(ServeConfigTest, RefusesWhatIsNotYaml) {
  EXPECT_THAT(Load("model: m\n  bad: [\n"), StatusIs(kInvalid, HasSubstr("not YAML")));
  EXPECT_THAT(Load("- model\n"), StatusIs(kInvalid, HasSubstr("expected keys with values")));
  EXPECT_THAT(Load(std::string((1 << 20) + 1, '#')), StatusIs(kInvalid, HasSubstr("at most")));
}

TEST_F(ServeConfigTest, RequiredKeyIsNamedWhenMissing) {
  EXPECT_THAT(Load(""), StatusIs(kInvalid, AllOf(HasSubstr(path_), HasSubstr("'model'"))));
  EXPECT_OK(Load("", {{"model", "m"}}));
}

TEST_F(ServeConfigTest, MissingFileIsNamed) {
  EXPECT_THAT(LoadServeConfig("/nowhere/serve.yaml", {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/serve.yaml")));
}

TEST_F(ServeConfigTest, GroupNamesDifferAndAreWords) {
  EXPECT_THAT(Load("model: m\ngroups:\n  - name: a\n  - name: a\n"),
              StatusIs(kInvalid, AllOf(HasSubstr(At(4)), HasSubstr("taken by another group"))));
  // Two groups that both take the default name.
  EXPECT_THAT(Load("model: m\ngroups:\n  - tp: 1\n  - tp: 1\n"),
              StatusIs(kInvalid, HasSubstr("'local' is taken")));
  for (const char* name : {"''", "'a b'", "-x", "a/b", "'a\nb'"}) {
    EXPECT_THAT(Load(std::string("model: m\ngroups:\n  - name: ") + name + "\n"),
                StatusIs(kInvalid, HasSubstr("groups[0].name")))
        << name;
  }
}

TEST_F(ServeConfigTest, CommandLineWinsAndIsNamedAsSource) {
  const auto loaded =
      Load("model: m\ngroups:\n  - name: a\n",
           {{"model", "other"}, {"groups[0].tp", "4"}, {"restart.max_restarts", "2"}});
  ASSERT_OK(loaded);
  EXPECT_EQ(loaded->config.model(), "other");
  EXPECT_EQ(loaded->config.groups(0).tp(), 4);
  EXPECT_EQ(loaded->config.restart().max_restarts(), 2);
  const std::string described = DescribeSettings(loaded->config, loaded->sources);
  EXPECT_THAT(described, HasSubstr("model: \"other\"  # command line\n"));
  EXPECT_THAT(described, HasSubstr("groups[0].name: \"a\"  # " + path_ + ":3\n"));
  EXPECT_THAT(described, HasSubstr("listen: \"127.0.0.1:50051\"  # default\n"));
}

TEST_F(ServeConfigTest, CommandLineIsCheckedLikeTheFile) {
  const std::pair<std::string, std::string> bad[] = {
      {"groups[1].tp", "1"}, {"groups[x].tp", "1"},   {"groups.tp", "1"},
      {"nothing", "1"},      {"model.x", "1"},        {"", "1"},
      {"groups[0].tp", ""},  {"groups[0].tp", "[1]"},
  };
  for (const auto& override : bad) {
    EXPECT_THAT(Load("model: m\n", {override}), StatusIs(kInvalid, HasSubstr("command line")))
        << override.first << "=" << override.second;
  }
}

TEST_F(ServeConfigTest, TheExamplesInTheTreeLoad) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TRIREME_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    ++found;
    EXPECT_OK(LoadServeConfig(entry.path().string(), {})) << entry.path();
  }
  EXPECT_GE(found, 1);
}

TEST_F(ServeConfigTest, GroupsDialByTlsExactlyWhereTheCoordinatorHasIt) {
  const std::string server = "model: m\ntls: {certificate: a, key: b}\n";
  const std::string link = "link_tls: {ca: c}\n";
  EXPECT_OK(Load(server + link));
  EXPECT_THAT(Load(server), StatusIs(kInvalid, HasSubstr("link_tls.ca")));
  EXPECT_THAT(Load("model: m\n" + link), StatusIs(kInvalid, HasSubstr("tls.certificate")));
}

}  // namespace
}  // namespace trireme
