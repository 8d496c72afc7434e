#include "parallel/shards/shard_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>

#include "parallel/shards/verify.h"
#include "runtime/model/weights.h"
#include "tests/parallel/shards/shard_fixture.h"
#include "tests/support/status_matchers.h"

namespace trireme {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Weight& WeightOf(const Weights& weights, const TensorSpec& spec) {
  return spec.layer < 0 ? weights.global(spec.slot) : weights.at(spec.layer, spec.slot);
}

void ExpectSameBytes(const Weight& sliced, const Weight& whole, const std::string& name) {
  ASSERT_EQ(sliced.view.dtype, whole.view.dtype) << name;
  ASSERT_EQ(sliced.view.shape, whole.view.shape) << name;
  ASSERT_EQ(sliced.column_offset, whole.column_offset) << name;
  ASSERT_EQ(sliced.view.empty(), whole.view.empty()) << name;
  if (sliced.view.empty()) return;  // optional, and absent
  const auto row_bytes = static_cast<size_t>(RowBytes(sliced.view.dtype, sliced.view.columns()));
  for (int64_t row = 0; row < sliced.view.rows(); ++row) {
    ASSERT_EQ(std::memcmp(sliced.view.row(row), whole.view.row(row), row_bytes), 0)
        << name << " row " << row;
  }
}

void ExpectSameExperts(std::span<const ExpertMatrix> sliced, std::span<const ExpertMatrix> whole,
                       const std::string& name) {
  ASSERT_EQ(sliced.size(), whole.size()) << name;
  for (size_t e = 0; e < sliced.size(); ++e) {
    EXPECT_EQ(sliced[e].input_major, whole[e].input_major);
    EXPECT_EQ(sliced[e].scales.empty(), whole[e].scales.empty());
    ExpectSameBytes({sliced[e].values, sliced[e].offset}, {whole[e].values, whole[e].offset}, name);
    ExpectSameBytes({sliced[e].scales, 0}, {whole[e].scales, 0}, name);
  }
}

// Every weight bound from the shards is the one bound from the checkpoint.
void ExpectShardsEqualSource(const ModelSource& source, const std::string& directory) {
  const auto shards = OpenModel(directory);
  ASSERT_OK(shards);
  for (int rank = 0; rank < shards->mesh()->ranks(); ++rank) {
    SCOPED_TRACE("rank " + std::to_string(rank));
    const auto extent = MakeExtent(source.config, PlaceOf(*shards->mesh(), rank));
    ASSERT_OK(extent);
    const auto sliced_tensors = shards->TensorsOf(rank);
    ASSERT_OK(sliced_tensors);
    const auto sliced = Weights::Bind(shards->table, *extent, *sliced_tensors);
    const auto whole = Weights::Bind(source.table, *extent, *source.TensorsOf(rank));
    ASSERT_OK(sliced);
    ASSERT_OK(whole);
    EXPECT_EQ(sliced->bytes(), whole->bytes());
    for (const TensorSpec& spec : source.table) {
      if (!SliceFor(spec, *extent)) continue;
      if (IsRouted(spec)) {
        ExpectSameExperts(sliced->experts(spec.layer, spec.slot),
                          whole->experts(spec.layer, spec.slot), spec.name);
        continue;
      }
      ExpectSameBytes(WeightOf(*sliced, spec), WeightOf(*whole, spec), spec.name);
    }
  }
}

struct Case {
  const char* model;
  Mesh mesh;
};

class ShardWriterModelTest : public testing::TestWithParam<Case> {};

TEST_P(ShardWriterModelTest, ShardsHoldTheBytesOfTheirSlices) {
  const ModelSource source = OpenGolden(GetParam().model);
  const ScratchDirectory scratch;
  const auto report = WriteShards(source, SmallSteps(GetParam().mesh, scratch / "out"));
  ASSERT_OK(report);
  EXPECT_EQ(static_cast<int>(report->written.size()), GetParam().mesh.ranks());
  EXPECT_EQ(report->bytes_reused, 0U);
  ExpectShardsEqualSource(source, scratch / "out");
  const auto verified = VerifyShards(scratch / "out", {});
  ASSERT_OK(verified);
  EXPECT_THAT(verified->damage, IsEmpty());
  EXPECT_EQ(verified->bytes, report->bytes_copied);
}

INSTANTIATE_TEST_SUITE_P(
    Golden, ShardWriterModelTest,
    testing::Values(
        Case{"llama3-tiny-f32", {}}, Case{"llama3-tiny-f32", {.pp = 3, .tp = 2}},
        Case{"llama3-tiny-f32", {.tp = 4}}, Case{"llama3-tiny-bf16", {.tp = 2}},
        Case{"llama3-tiny-bf16", {.pp = 2, .tp = 4}}, Case{"llama-tied", {.tp = 2}},
        Case{"llama-tied", {.pp = 2}}, Case{"llama-tied", {.pp = 2, .tp = 4}},
        Case{"llama3-tiny-gguf-f16", {.pp = 2, .tp = 2}}, Case{"llama3-tiny-gguf-f16", {.tp = 8}},
        Case{"llama3-tiny-gguf-q8_0", {.tp = 2}}, Case{"llama3-tiny-gguf-q8_0", {.pp = 2, .tp = 8}},
        Case{"llama4-maverick-tiny", {.tp = 4}}, Case{"llama4-maverick-tiny", {.ep = 8}},
        Case{"llama4-scout-tiny", {.pp = 2, .ep = 2, .tp = 2}},
        Case{"llama4-multimodal-wrapper", {.pp = 3, .ep = 2}},
        Case{"llama4-fp8", {.ep = 2, .tp = 2}}));

// Alone, a rank's columns are streamed past the page cache, where the disk can.
TEST(ShardWriterTest, ARankWrittenAloneAndByManyThreadsHasTheSameBytes) {
  for (const Case& each :
       {Case{"llama4-maverick-tiny", {.tp = 4}}, Case{"llama3-tiny-bf16", {.pp = 2, .tp = 4}},
        Case{"llama3-tiny-gguf-q8_0", {.tp = 8}}}) {
    SCOPED_TRACE(each.model);
    const ModelSource source = OpenGolden(each.model);
    const ScratchDirectory scratch(ScratchDirectory::Medium::kDisk);
    const int ranks = each.mesh.ranks();
    ShardOptions options = SmallSteps(each.mesh, scratch / "all");
    options.commit_bytes = 10 << 20;  // syncs are slow
    ASSERT_OK(WriteShards(source, options));
    for (options.ranks = {0}; options.ranks[0] < ranks; ++options.ranks[0]) {
      const std::string name = RankFileName(options.ranks[0], ranks);
      options.directory = scratch / ("only " + name);
      options.threads = 3;
      ASSERT_OK(WriteShards(source, options));
      // Not EXPECT_EQ, which would print megabytes.
      EXPECT_TRUE(ReadFile(JoinPath(options.directory, name)) ==
                  ReadFile(JoinPath(scratch / "all", name)));
      const auto verified = VerifyShards(options.directory, {});
      ASSERT_OK(verified);
      EXPECT_THAT(verified->damage, IsEmpty());
    }
  }
}

TEST(ShardWriterTest, ManifestTellsTheModel) {
  const ScratchDirectory scratch;
  const ModelSource source = OpenGolden("llama3-tiny-bf16");
  ASSERT_OK(WriteShards(source, SmallSteps({.tp = 2}, scratch / "out")));
  const auto manifest = ReadManifest(scratch / "out");
  ASSERT_OK(manifest);
  EXPECT_EQ(manifest->set().architecture(), "llama");
  EXPECT_EQ(manifest->set().source_files_size(), 3);
  EXPECT_EQ(manifest->checkpoint_name(), "llama3-tiny-bf16");
  EXPECT_EQ(MeshOf(manifest->set()), (Mesh{.tp = 2}));
  ASSERT_EQ(manifest->rank_files_size(), 2);
  for (const v1::SliceRecord& slice : manifest->rank_files(1).slices()) {
    EXPECT_EQ(slice.offset() % 64, 0U) << slice.name();
  }
  for (const char* name : {"config.json", "generation_config.json"}) {
    EXPECT_EQ(ReadFile(scratch / ("out/" + std::string(name))),
              ReadFile(GoldenModelPath("llama3-tiny-bf16") + "/" + name));
  }
  const auto names = ReadDirectory(scratch / "out");
  EXPECT_EQ(names.size(), 5U) << "2 rank files, the manifest and two companions";
}

TEST(ShardWriterTest, KeepsWhatIsWholeAlready) {
  const ScratchDirectory scratch;
  const ModelSource source = OpenGolden("llama-tied");
  ASSERT_OK(WriteShards(source, SmallSteps({.tp = 2}, scratch / "out")));
  const auto before = ReadDirectory(scratch / "out");
  const auto again = WriteShards(source, SmallSteps({.tp = 2}, scratch / "out"));
  ASSERT_OK(again);
  EXPECT_THAT(again->kept, ElementsAre(0, 1));
  EXPECT_THAT(again->written, IsEmpty());
  EXPECT_EQ(again->bytes_copied, 0U);
  EXPECT_EQ(ReadDirectory(scratch / "out"), before);
}

TEST(ShardWriterTest, RanksWrittenOneByOneMakeTheSameDirectory) {
  const ScratchDirectory scratch;
  const ModelSource source = OpenGolden("llama3-tiny-f32");
  const Mesh mesh{.pp = 2, .tp = 2};
  ASSERT_OK(WriteShards(source, SmallSteps(mesh, scratch / "all")));
  for (const int rank : {2, 0, 3, 1}) {
    ShardOptions options = SmallSteps(mesh, scratch / "one");
    options.ranks = {rank};
    const auto report = WriteShards(source, options);
    ASSERT_OK(report);
    EXPECT_THAT(report->written, ElementsAre(rank));
    const auto model = OpenModel(scratch / "one");
    ASSERT_OK(model);
    EXPECT_OK(model->TensorsOf(rank));
    EXPECT_EQ(model->identity, report->identity);
    if (rank == 2) {
      EXPECT_THAT(model->TensorsOf(0),
                  StatusIs(absl::StatusCode::kNotFound,
                           AllOf(HasSubstr("rank 0 of 4"), HasSubstr("trireme shard --ranks 0"))));
    }
  }
  EXPECT_EQ(ReadDirectory(scratch / "all"), ReadDirectory(scratch / "one"));
}

TEST(ShardWriterTest, RefusesToOverwriteOtherShards) {
  const ScratchDirectory scratch;
  const ModelSource tied = OpenGolden("llama-tied");
  ASSERT_OK(WriteShards(tied, SmallSteps({.tp = 2}, scratch / "out")));
  const auto before = ReadDirectory(scratch / "out");
  EXPECT_THAT(WriteShards(OpenGolden("llama3-tiny-f32"), SmallSteps({.tp = 2}, scratch / "out")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("llama-tied"), HasSubstr("another --out"))));
  EXPECT_THAT(WriteShards(tied, SmallSteps({.tp = 4}, scratch / "out")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("pp=1 tp=2")));
  EXPECT_EQ(ReadDirectory(scratch / "out"), before);
}

TEST(ShardWriterTest, RefusesToWriteIntoACheckpoint) {
  const ScratchDirectory scratch;
  std::filesystem::copy(GoldenModelPath("llama-tied"), scratch / "tied");
  const auto before = ReadDirectory(scratch / "tied");
  const auto own = OpenModel(scratch / "tied");
  ASSERT_OK(own);
  EXPECT_THAT(WriteShards(*own, SmallSteps({}, scratch / "tied")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("checkpoint itself")));
  EXPECT_THAT(WriteShards(OpenGolden("llama3-tiny-f32"), SmallSteps({}, scratch / "tied")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("config.json")));
  EXPECT_EQ(ReadDirectory(scratch / "tied"), before);
}

TEST(ShardWriterTest, RefusesShardsAsASource) {
  const ScratchDirectory scratch;
  ASSERT_OK(WriteShards(OpenGolden("llama-tied"), SmallSteps({.tp = 2}, scratch / "out")));
  const auto shards = OpenModel(scratch / "out");
  ASSERT_OK(shards);
  EXPECT_THAT(WriteShards(*shards, SmallSteps({.tp = 4}, scratch / "again")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sharded already")));
}

TEST(ShardWriterTest, RefusesMeshesAndRanksThatAreNot) {
  const ScratchDirectory scratch;
  const ModelSource source = OpenGolden("llama-tied");
  EXPECT_THAT(WriteShards(source, SmallSteps({.tp = 3}, scratch / "out")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--tp 2 --pp 1")));
  ShardOptions options = SmallSteps({.tp = 2}, scratch / "out");
  options.ranks = {0, 2};
  EXPECT_THAT(WriteShards(source, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[0, 2)")));
  EXPECT_FALSE(std::filesystem::exists(scratch / "out"));
}

TEST(ShardWriterTest, RefusesADirectoryThatIsBeingWritten) {
  const ScratchDirectory scratch;
  const ModelSource source = OpenGolden("llama-tied");
  ShardOptions options = SmallSteps({}, scratch / "out");
  absl::Status second;
  options.progress = [&](const ShardProgress&) {
    if (second.ok()) second = WriteShards(source, SmallSteps({}, scratch / "out")).status();
  };
  ASSERT_OK(WriteShards(source, options));
  EXPECT_THAT(second, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("being written")));
}

TEST(ShardWriterTest, ProgressIsMonotoneAndReachesTheTotal) {
  const ScratchDirectory scratch;
  ShardOptions options = SmallSteps({.tp = 2}, scratch / "out");
  ShardProgress last;
  int calls = 0;
  options.progress = [&](const ShardProgress& progress) {
    EXPECT_GE(progress.bytes_done, last.bytes_done);
    last = progress;
    ++calls;
  };
  ASSERT_OK(WriteShards(OpenGolden("llama-tied"), options));
  EXPECT_GT(calls, 10);
  EXPECT_GT(last.bytes_total, 1'500'000U);
  EXPECT_EQ(last.bytes_done, last.bytes_total);
}

// Runs `body` in a child and returns how it ended and what it used.
struct ChildEnd {
  int status = 0;
  rusage usage{};
};
template <typename F>
ChildEnd RunInChild(const F& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  ChildEnd end;
  EXPECT_EQ(wait4(child, &end.status, 0, &end.usage), child);
  return end;
}

TEST(ShardWriterTest, AFullDiskIsNamedAndLaterResumed) {
  const ScratchDirectory scratch;
  const ModelSource source = OpenGolden("llama-tied");
  const ChildEnd end = RunInChild([&] {
    // The nearest to a full disk that needs no privilege: no file may grow past 200 kB.
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{200'000, 200'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const auto report = WriteShards(source, SmallSteps({.tp = 2}, scratch / "out"));
    const std::string message(report.status().message());
    const bool named = message.find("rank-0000") != std::string::npos &&
                       message.find("run the same command again") != std::string::npos;
    return absl::IsResourceExhausted(report.status()) && named ? 0 : 1;
  });
  EXPECT_EQ(end.status, 0);
  EXPECT_FALSE(OpenModel(scratch / "out").ok());
  ASSERT_OK(WriteShards(source, SmallSteps({.tp = 2}, scratch / "out")));
  ExpectShardsEqualSource(source, scratch / "out");
}

// A checkpoint whose tensors are holes of a sparse file.
void WriteSparseCheckpoint(const std::string& directory, const nlohmann::json& config) {
  std::filesystem::create_directories(directory);
  WriteFile(directory + "/config.json", config.dump());
  const auto parsed = ConfigFromHuggingFace(config.dump(), "", "config.json");
  ASSERT_OK(parsed);
  nlohmann::json header;
  uint64_t end = 0;
  const auto architecture = FindArchitecture("llama");
  for (const TensorSpec& spec : (*architecture)->tensors(*parsed)) {
    if (spec.optional) continue;
    const uint64_t bytes = static_cast<uint64_t>(spec.shape.elements()) * 2;
    nlohmann::json shape = nlohmann::json::array();
    for (int axis = 0; axis < spec.shape.rank(); ++axis) shape.push_back(spec.shape[axis]);
    header[spec.name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i));
  const std::string path = directory + "/model.safetensors";
  WriteFile(path, length + text);
  std::filesystem::resize_file(path, length.size() + text.size() + end);
}

// INV-SHARD-1, with a bound that scales: a checkpoint of 400 MB in far less memory, cut by columns
// among eight ranks so that every source page is touched eight times.
TEST(ShardWriterTest, MemoryDoesNotGrowWithTheCheckpoint) {
  const ScratchDirectory scratch(ScratchDirectory::Medium::kDisk);
  ASSERT_NO_FATAL_FAILURE(
      WriteSparseCheckpoint(scratch / "model", {{"model_type", "llama"},
                                                {"architectures", {"LlamaForCausalLM"}},
                                                {"hidden_size", 2048},
                                                {"intermediate_size", 24576},
                                                {"num_hidden_layers", 1},
                                                {"num_attention_heads", 16},
                                                {"num_key_value_heads", 8},
                                                {"vocab_size", 16384},
                                                {"max_position_embeddings", 4096},
                                                {"hidden_act", "silu"},
                                                {"rms_norm_eps", 1e-5},
                                                {"tie_word_embeddings", true}}));
  EXPECT_GT(std::filesystem::file_size(scratch / "model/model.safetensors"), 380'000'000U);
  const ChildEnd end = RunInChild([&] {
    const auto model = OpenModel(scratch / "model");
    if (!model.ok()) return 1;
    ShardOptions options;
    options.mesh = {.tp = 8};
    options.directory = scratch / "out";
    return WriteShards(*model, options).ok() ? 0 : 2;
  });
  EXPECT_EQ(end.status, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(end.usage.ru_maxrss, 128 << 10) << "KiB";
#endif
  EXPECT_OK(OpenModel(scratch / "out"));
}

}  // namespace
}  // namespace trireme
