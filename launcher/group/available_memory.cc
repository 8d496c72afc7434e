#include "launcher/group/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/check.h"

namespace trireme {
namespace {

// The number after `key` in a file of lines "key number …".
std::optional<int64_t> NumberAfter(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  int64_t number = 0;
  while (file >> word) {
    if (word == key && file >> number) return number;
    file.clear();
  }
  return std::nullopt;
}

// A file that holds one number; nothing where it says "max".
std::optional<int64_t> NumberIn(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

// What one control group leaves.
std::optional<int64_t> Left(const std::string& folder) {
  const auto limit = NumberIn(folder + "/memory.max");
  const auto used = NumberIn(folder + "/memory.current");
  if (!limit || !used) return std::nullopt;
  const int64_t files = NumberAfter(folder + "/memory.stat", "file").value_or(0);
  return std::max<int64_t>(0, *limit - std::max<int64_t>(0, *used - files));
}

// "0::/user.slice/job" names the group of version 2.
std::string ControlGroup(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return "/";
}

double Gigabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e9; }

}  // namespace

int64_t AvailableMemory(const std::string& root) {
  constexpr int64_t kKib = 1024;
  int64_t least = std::numeric_limits<int64_t>::max();
  if (const auto kib = NumberAfter(root + "/proc/meminfo", "MemAvailable:")) least = *kib * kKib;
  std::string group = ControlGroup(root);
  while (!group.empty()) {
    if (const auto left = Left(root + "/sys/fs/cgroup" + group)) least = std::min(least, *left);
    group.resize(group.rfind('/'));
  }
  if (const auto left = Left(root + "/sys/fs/cgroup")) least = std::min(least, *left);
  return least == std::numeric_limits<int64_t>::max() ? 0 : least;
}

absl::Status CheckHostMemory(int rank, const MemoryPlan& plan, const std::vector<HostedNeed>& needs,
                             int64_t available) {
  const auto mine = std::ranges::find(needs, rank, &HostedNeed::rank);
  TRI_CHECK(mine != needs.end());
  int64_t together = 0;
  std::vector<int> ranks;
  for (const HostedNeed& need : needs) {
    if (need.host != mine->host) continue;
    together += need.bytes;
    ranks.push_back(need.rank);
  }
  if (available == 0 || together <= available) return absl::OkStatus();
  const std::string company = ranks.size() == 1
                                  ? ""
                                  : absl::StrFormat(", with ranks %s of that host %.2f GB",
                                                    absl::StrJoin(ranks, " "), Gigabytes(together));
  return absl::ResourceExhaustedError(absl::StrFormat(
      "rank %d on host %s needs %.2f GB of memory (weights %.2f, KV pages %.2f, scratch %.2f)%s; "
      "%.2f GB are available, %.2f GB are lacking; give fewer --kv-positions or a shorter "
      "--max-context, or take more ranks or hosts (trireme plan says which)",
      rank, mine->host, Gigabytes(plan.total()), Gigabytes(plan.weights), Gigabytes(plan.kv),
      Gigabytes(plan.scratch), company, Gigabytes(available), Gigabytes(together - available)));
}

}  // namespace trireme
