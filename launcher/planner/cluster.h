// The machines that a plan is for: what a device computes and reads, what the links between devices
// carry, and what they cost. Read from YAML (proto/trireme/v1/cluster.proto) or taken from this
// machine; every constant remembers whether a file, a measurement or an assumption gave it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launcher/config/yaml_message.h"
#include "runtime/tensor/dtype.h"
#include "trireme/v1/cluster.pb.h"

namespace trireme {

struct ClusterFile {
  v1::ClusterConfig config;  // complete: defaults filled in
  SettingSources sources;
};

// INVALID_ARGUMENT and NOT_FOUND name file and line.
absl::StatusOr<ClusterFile> LoadClusterConfig(const std::string& path);

// One node, its cores as devices that share its memory. Rates are assumptions until measured.
ClusterFile ThisMachine(int cores);

// As YAML that LoadClusterConfig reads.
std::string ClusterYaml(const ClusterFile& cluster);

// Sets a constant that was measured.
void SetMeasured(const std::string& path, double value, ClusterFile& cluster);

// One line of the account of constants.
struct ClusterConstant {
  std::string name;    // "device.memory_bandwidth_gb_s"
  std::string value;   // as YAML
  std::string source;  // "configs/clusters/x.yaml:7", "measured", "assumption"
};
std::vector<ClusterConstant> ConstantsOf(const ClusterFile& cluster);

// The same numbers in seconds and bytes, as the cost model takes them.
struct Link {
  double latency_s = 0;
  double bytes_per_s = 0;

  double Seconds(double bytes) const;
};

struct Rate {
  double flops_per_s = 0;
  double read_bytes_per_s = 0;
  double node_bytes_per_s = 0;  // that all devices of a node read together; 0: no common limit
};

// How a matrix is stored, as far as a rate may depend on it.
struct MatrixForm {
  DType dtype = DType::kF32;
  bool input_major = false;  // rows are inputs: fused experts
  friend bool operator==(const MatrixForm&, const MatrixForm&) = default;
};

struct Cluster {
  explicit Cluster(const v1::ClusterConfig& config);

  int devices() const { return nodes * devices_per_node; }
  // Of weights stored so, on each of `running` devices of a node that compute at once.
  Rate RateOf(const MatrixForm& form, int running = 1) const;

  int nodes = 1;
  int devices_per_node = 1;
  double device_memory_bytes = 0;  // that a rank may fill, where each device has a rank
  double shared_memory_bytes = 0;  // of a node's devices together; 0: each has its own
  double attention_flops_per_s = 0;
  double attention_bytes_per_s = 0;
  double elementwise_bytes_per_s = 0;
  Link node_link;
  Link network;
  double verb_s = 0;
  double step_s = 0;
  double switch_s = 0;
  double sample_s_per_logit = 0;
  double process_bytes = 0;
  double transport_bytes = 0;
  double tokenizer_bytes_per_token = 0;
  double price_per_device_hour = 0;

 private:
  struct FormRate {
    std::string dtype;
    bool input_major = false;
    Rate rate;
  };
  const FormRate& Find(const MatrixForm& form) const;

  std::vector<FormRate> rates_;
};

}  // namespace trireme
