#include "launcher/planner/cluster.h"

#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "runtime/base/check.h"
#include "runtime/base/status_macros.h"

namespace trireme {
namespace {

constexpr double kGiga = 1e9;
constexpr double kTera = 1e12;
constexpr double kMicro = 1e-6;
constexpr char kAssumption[] = "assumption";
constexpr char kMeasured[] = "measured";

absl::Status CheckRates(const std::string& file, const ClusterFile& loaded) {
  if (loaded.config.device().rates().empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: device.rates: expected at least one {dtype, tflops}; got none", file));
  }
  for (int i = 0; i < loaded.config.device().rates_size(); ++i) {
    const std::string& dtype = loaded.config.device().rates(i).dtype();
    if (DTypeFromName(dtype)) continue;
    const std::string path = absl::StrFormat("device.rates[%d].dtype", i);
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: %s: expected a dtype as checkpoints spell it (BF16, F8_E4M3, Q4_1); "
                        "got '%s'",
                        loaded.sources.at(path), path, dtype));
  }
  return absl::OkStatus();
}

absl::Status CheckCluster(const std::string& file, const ClusterFile& loaded) {
  TRI_RETURN_IF_ERROR(CheckRates(file, loaded));
  const v1::ClusterConfig& config = loaded.config;
  if (config.device().memory_gb() == 0 && config.shared().memory_gb() == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: expected device.memory_gb, or shared.memory_gb of a node; got neither", file));
  }
  if (config.devices_per_node() > 1 && config.node_link().bandwidth_gb_s() == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: node_link.bandwidth_gb_s: %d devices in a node need a link between them", file,
        config.devices_per_node()));
  }
  if (config.nodes() > 1 && config.network().bandwidth_gb_s() == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: network.bandwidth_gb_s: %d nodes need a link between them", file, config.nodes()));
  }
  return absl::OkStatus();
}

Link LinkOf(const v1::LinkConfig& config) {
  return {.latency_s = config.latency_us() * kMicro,
          .bytes_per_s = config.bandwidth_gb_s() * kGiga};
}

}  // namespace

absl::StatusOr<ClusterFile> LoadClusterConfig(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrFormat("cannot open the cluster %s", path));
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  ClusterFile loaded;
  TRI_RETURN_IF_ERROR(ParseYaml(text, path, loaded.config, loaded.sources));
  TRI_RETURN_IF_ERROR(CompleteSettings(path, loaded.config, loaded.sources));
  TRI_RETURN_IF_ERROR(CheckCluster(path, loaded));
  return loaded;
}

// Of a 2-core cloud machine with AVX-512, measured 2025-11; `--measure` replaces them.
ClusterFile ThisMachine(int cores) {
  constexpr char kText[] = R"(
name: this machine
devices_per_node: 1
device:
  memory_bandwidth_gb_s: 15
  memory_efficiency: 1
  matmul_efficiency: 1
  rates:
    - {dtype: BF16, tflops: 0.08}
  attention_tflops: 0.03
  attention_gb_s: 6
  elementwise_gb_s: 10
shared: {memory_bandwidth_gb_s: 25}
node_link: {latency_us: 1.5, bandwidth_gb_s: 4}
network: {latency_us: 30, bandwidth_gb_s: 1}
overhead: {verb_us: 0.3, step_us: 50, switch_us: 15, sample_us_per_1k: 1}
)";
  ClusterFile machine;
  TRI_CHECK_OK(ParseYaml(kText, kAssumption, machine.config, machine.sources));
  TRI_CHECK_OK(CompleteSettings(kAssumption, machine.config, machine.sources));
  for (auto& [path, source] : machine.sources) source = kAssumption;
  machine.config.set_devices_per_node(cores);
  machine.sources["devices_per_node"] = kMeasured;
  const auto memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  SetMeasured("shared.memory_gb", memory / kGiga, machine);
  return machine;
}

// JSON is YAML.
std::string ClusterYaml(const ClusterFile& cluster) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string text;
  TRI_CHECK(google::protobuf::util::MessageToJsonString(cluster.config, &text, options).ok());
  return text;
}

void SetMeasured(const std::string& path, double value, ClusterFile& cluster) {
  TRI_CHECK_OK(SetFromFlag(path, absl::StrFormat("%.6g", value), cluster.config, cluster.sources));
  cluster.sources[path] = kMeasured;
}

std::vector<ClusterConstant> ConstantsOf(const ClusterFile& cluster) {
  std::vector<ClusterConstant> constants;
  // "path: value  # source" a line, as every command prints its configuration.
  const std::vector<std::string> lines =
      absl::StrSplit(DescribeSettings(cluster.config, cluster.sources), '\n');
  for (const std::string_view line : lines) {
    const size_t colon = line.find(": ");
    const size_t hash = line.rfind("  # ");
    if (colon == std::string_view::npos || hash == std::string_view::npos) continue;
    const std::string_view source = line.substr(hash + 4);
    constants.push_back({.name = std::string(line.substr(0, colon)),
                         .value = std::string(line.substr(colon + 2, hash - colon - 2)),
                         .source = std::string(source == "default" ? kAssumption : source)});
  }
  return constants;
}

double Link::Seconds(double bytes) const {
  return bytes_per_s > 0 ? latency_s + bytes / bytes_per_s : latency_s;
}

Cluster::Cluster(const v1::ClusterConfig& config)
    : nodes(config.nodes()),
      devices_per_node(config.devices_per_node()),
      device_memory_bytes(config.device().memory_gb() * kGiga * config.device().memory_use()),
      shared_memory_bytes(config.shared().memory_gb() * kGiga * config.device().memory_use()),
      attention_flops_per_s(config.device().attention_tflops() * kTera),
      attention_bytes_per_s(config.device().attention_gb_s() * kGiga),
      elementwise_bytes_per_s(config.device().elementwise_gb_s() * kGiga),
      node_link(LinkOf(config.node_link())),
      network(LinkOf(config.network())),
      verb_s(config.overhead().verb_us() * kMicro),
      step_s(config.overhead().step_us() * kMicro),
      switch_s(config.overhead().switch_us() * kMicro),
      sample_s_per_logit(config.overhead().sample_us_per_1k() * kMicro / 1000),
      process_bytes(config.overhead().process_mb() * 1e6),
      transport_bytes(config.overhead().transport_mb() * 1e6),
      tokenizer_bytes_per_token(config.overhead().tokenizer_bytes_per_token()),
      price_per_device_hour(config.price_per_node_hour() / config.devices_per_node()) {
  const v1::DeviceConfig& device = config.device();
  const double memory = device.memory_bandwidth_gb_s() * kGiga * device.memory_efficiency();
  for (const v1::RateConfig& rate : device.rates()) {
    const double shared = rate.shared_read_gb_s() > 0
                              ? rate.shared_read_gb_s() * config.devices_per_node()
                              : config.shared().memory_bandwidth_gb_s();
    rates_.push_back(
        {.dtype = rate.dtype(),
         .input_major = rate.input_major(),
         .rate = {.flops_per_s = rate.tflops() * kTera * device.matmul_efficiency(),
                  .read_bytes_per_s = rate.read_gb_s() > 0 ? rate.read_gb_s() * kGiga : memory,
                  .node_bytes_per_s = shared * kGiga}});
  }
  TRI_CHECK(!rates_.empty());
  if (device.attention_tflops() == 0) attention_flops_per_s = rates_.front().rate.flops_per_s;
  if (device.attention_gb_s() == 0) attention_bytes_per_s = memory;
  if (device.elementwise_gb_s() == 0) elementwise_bytes_per_s = memory;
}

const Cluster::FormRate& Cluster::Find(const MatrixForm& form) const {
  const FormRate* of_dtype = nullptr;
  for (const FormRate& rate : rates_) {
    if (rate.dtype != Name(form.dtype)) continue;
    if (rate.input_major == form.input_major) return rate;
    if (of_dtype == nullptr) of_dtype = &rate;
  }
  return of_dtype != nullptr ? *of_dtype : rates_.front();
}

Rate Cluster::RateOf(const MatrixForm& form, int running) const {
  Rate rate = Find(form).rate;
  if (rate.node_bytes_per_s > 0) {
    rate.read_bytes_per_s = std::min(rate.read_bytes_per_s, rate.node_bytes_per_s / running);
  }
  return rate;
}

}  // namespace trireme
