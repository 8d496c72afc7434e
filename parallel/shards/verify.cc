#include "parallel/shards/verify.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "parallel/sha256.h"
#include "parallel/shards/durable_file.h"
#include "parallel/shards/manifest.h"
#include "parallel/shards/model_source.h"
#include "parallel/shards/shard_source.h"
#include "runtime/base/mutex.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr uint64_t kBufferBytes = 4 << 20;

struct ListedFile {
  std::string path;
  FileDescriptor descriptor;
};

// Bytes of a file with the checksum that they should have.
struct ChunkCheck {
  const ListedFile* file = nullptr;
  std::string tensor;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::string sha256;
};

// What the threads share.
class Findings {
 public:
  void Add(Damage damage) {
    const MutexLock lock(mutex_);
    damage_.push_back(std::move(damage));
  }
  std::vector<Damage> Take() {
    const MutexLock lock(mutex_);
    return std::move(damage_);
  }
  void Advance(uint64_t bytes) { bytes_ += bytes; }
  uint64_t bytes() const { return bytes_; }

 private:
  Mutex mutex_;
  std::vector<Damage> damage_ ABSL_GUARDED_BY(mutex_);
  std::atomic<uint64_t> bytes_{0};
};

void CheckChunk(const ChunkCheck& check, std::span<std::byte> buffer, Findings& findings) {
  Sha256 hash;
  for (uint64_t done = 0; done < check.bytes;) {
    const std::span<std::byte> piece = buffer.first(std::min(buffer.size(), check.bytes - done));
    const absl::Status read =
        ReadAt(check.file->descriptor, check.file->path, check.offset + done, piece);
    if (!read.ok()) {
      findings.Add({check.file->path, check.tensor, check.offset, std::string(read.message())});
      return;
    }
    hash.Add(piece);
    done += piece.size();
    findings.Advance(piece.size());
  }
  const std::string found = hash.HexDigest();
  if (found == check.sha256) return;
  findings.Add({check.file->path, check.tensor, check.offset,
                absl::StrFormat("bytes [%d, %d) have SHA-256 %s; expected %s", check.offset,
                                check.offset + check.bytes, found, check.sha256)});
}

void AppendChecks(const v1::RankFile& listed, const ListedFile& file,
                  std::vector<ChunkCheck>& checks) {
  for (const v1::SliceRecord& slice : listed.slices()) {
    for (int chunk = 0; chunk < slice.chunk_sha256_size(); ++chunk) {
      const uint64_t begin = static_cast<uint64_t>(chunk) * listed.chunk_bytes();
      checks.push_back({.file = &file,
                        .tensor = slice.name(),
                        .offset = slice.offset() + begin,
                        .bytes = std::min(listed.chunk_bytes(), slice.bytes() - begin),
                        .sha256 = slice.chunk_sha256(chunk)});
    }
  }
}

// Opens a listed file for reading all of it, and as a worker would: size, header and identity. What
// is wrong is added to the report.
ListedFile OpenListed(const std::string& directory, const v1::ShardManifest& manifest,
                      const v1::RankFile& listed, VerifyReport& report) {
  ListedFile file;
  file.path = JoinPath(directory, listed.name());
  const absl::Status opened =
      ShardSource::Open(directory, manifest, static_cast<int>(listed.rank())).status();
  if (!opened.ok()) report.damage.push_back({file.path, "", 0, std::string(opened.message())});
  file.descriptor =
      FileDescriptor(open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  return file;
}

// What is wrong beside the rank files.
void CheckSurroundings(const std::string& directory, const v1::ShardManifest& manifest,
                       VerifyReport& report) {
  if (const absl::Status status = CheckCompanions(directory, manifest); !status.ok()) {
    report.damage.push_back({directory, "", 0, std::string(status.message())});
  }
  const auto strays = StrayRankFiles(directory, manifest);
  if (!strays.ok()) report.damage.push_back({directory, "", 0, strays.status().ToString()});
  for (const std::string& name : strays.value_or(std::vector<std::string>())) {
    report.damage.push_back(
        {JoinPath(directory, name), "", 0, absl::StrFormat("%s does not list it", kManifestName)});
  }
  if (!report.damage.empty()) return;
  // Whole, but do the slices fit the model that the configuration describes?
  const auto model = OpenModel(directory);
  if (!model.ok()) {
    report.damage.push_back({directory, "", 0, std::string(model.status().message())});
    return;
  }
  for (const int rank : report.ranks) {
    const absl::Status status = model->TensorsOf(rank).status();
    if (status.ok()) continue;
    const std::string path = JoinPath(directory, FindRankFile(manifest, rank)->name());
    report.damage.push_back({path, "", 0, std::string(status.message())});
  }
}

void RunChecks(const std::vector<ChunkCheck>& checks, const VerifyOptions& options,
               Findings& findings) {
  uint64_t total = 0;
  for (const ChunkCheck& check : checks) total += check.bytes;
  std::atomic<size_t> next{0};
  const auto work = [&](const std::function<void()>& after) {
    std::vector<std::byte> buffer(kBufferBytes);
    for (size_t i = next++; i < checks.size(); i = next++) {
      CheckChunk(checks[i], buffer, findings);
      after();
    }
  };
  const auto report = [&] { options.progress({findings.bytes(), total}); };
  {
    std::vector<std::jthread> workers;
    for (int i = 1; i < options.threads; ++i) workers.emplace_back(work, [] {});
    work(report);
  }
  report();
}

absl::StatusOr<std::vector<const v1::RankFile*>> Selected(const v1::ShardManifest& manifest,
                                                          const VerifyOptions& options) {
  std::vector<const v1::RankFile*> files;
  if (options.ranks.empty()) {
    for (const v1::RankFile& file : manifest.rank_files()) files.push_back(&file);
    return files;
  }
  for (const int rank : options.ranks) {
    const v1::RankFile* file = FindRankFile(manifest, rank);
    if (file == nullptr) {
      return absl::NotFoundError(absl::StrFormat("%s lists no rank %d", kManifestName, rank));
    }
    files.push_back(file);
  }
  return files;
}

}  // namespace

absl::StatusOr<VerifyReport> VerifyShards(const std::string& directory,
                                          const VerifyOptions& options) {
  TRI_ASSIGN_OR_RETURN(const v1::ShardManifest manifest, ReadManifest(directory));
  TRI_ASSIGN_OR_RETURN(const std::vector<const v1::RankFile*> selected,
                       Selected(manifest, options));
  VerifyReport report;
  report.identity = manifest.identity();
  report.mesh_ranks = MeshOf(manifest.set()).ranks();
  std::vector<std::unique_ptr<ListedFile>> files;
  std::vector<ChunkCheck> checks;
  for (const v1::RankFile* listed : selected) {
    report.ranks.push_back(static_cast<int>(listed->rank()));
    files.push_back(std::make_unique<ListedFile>(OpenListed(directory, manifest, *listed, report)));
    if (!files.back()->descriptor.open()) continue;
    AppendChecks(*listed, *files.back(), checks);
  }
  Findings findings;
  RunChecks(checks, options, findings);
  report.bytes = findings.bytes();
  for (Damage& damage : findings.Take()) report.damage.push_back(std::move(damage));
  CheckSurroundings(directory, manifest, report);
  std::sort(report.damage.begin(), report.damage.end(), [](const Damage& a, const Damage& b) {
    return std::tie(a.file, a.offset) < std::tie(b.file, b.offset);
  });
  return report;
}

absl::Status DamageStatus(const VerifyReport& report) {
  if (report.damage.empty()) return absl::OkStatus();
  const Damage& first = report.damage.front();
  return absl::DataLossError(absl::StrFormat(
      "%s%s%s: %s%s", first.file, first.tensor.empty() ? "" : ": tensor ", first.tensor, first.what,
      report.damage.size() == 1
          ? ""
          : absl::StrFormat(" (and %d more places)", report.damage.size() - 1)));
}

}  // namespace trireme
