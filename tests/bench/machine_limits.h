// What this machine can do at most, measured in the same run as the benchmarks that are compared
// with it.
#pragma once

namespace trireme {

struct MachineLimits {
  double read_bytes_per_second = 0;  // `threads` threads reading memory far larger than the caches
  double flops_per_second = 0;       // fp32 multiply-adds (two operations each) from registers
  double int8_ops_per_second = 0;    // the same of bytes; 0 where there is no VNNI
};

// The best of several short runs.
MachineLimits MeasureLimits(int threads);

}  // namespace trireme
