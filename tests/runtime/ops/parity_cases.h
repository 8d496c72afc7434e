// What the parity test runs: a name, and a function from a backend to numbers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/ops/ops.h"

namespace trireme {

struct ParityCase {
  std::string name;
  std::function<std::vector<float>(Ops&)> run;
};

// Inputs depend on the seed alone, so each backend sees the same.
inline constexpr uint64_t kSeed = 20240817;

// An output's memory. Not zero, so that one which is never written shows.
inline std::vector<float> Floats(int64_t rows, int64_t columns) {
  return std::vector<float>(static_cast<size_t>(rows * columns), 7.0f);
}

// Products with block-typed weights whose leaves say on which columns all of them lie, as a model's
// do.
void AddInt8Cases(std::vector<ParityCase>& cases);
// Routing, the products of routed experts, and scaling by position.
void AddExpertCases(std::vector<ParityCase>& cases);

}  // namespace trireme
