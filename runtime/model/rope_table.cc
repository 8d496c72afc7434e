#include "runtime/model/rope_table.h"

#include <cmath>
#include <numbers>

namespace trireme {
namespace {

float Scale(float frequency, const RopeScaling& scaling) {
  const auto original = static_cast<float>(scaling.original_max_positions);
  const float wavelength = 2 * std::numbers::pi_v<float> / frequency;
  if (wavelength < original / scaling.high_freq_factor) return frequency;
  if (wavelength > original / scaling.low_freq_factor) return frequency / scaling.factor;
  // Equal factors leave no band to blend over (and would divide by zero).
  if (scaling.high_freq_factor == scaling.low_freq_factor) return frequency;
  const float smooth = (original / wavelength - scaling.low_freq_factor) /
                       (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * (frequency / scaling.factor) + smooth * frequency;
}

}  // namespace

std::vector<float> RopeFrequencies(const RopeConfig& rope, int64_t head_dim,
                                   std::span<const float> divisors) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const auto power = static_cast<float>(
        std::pow(static_cast<double>(rope.theta), static_cast<double>(exponent)));
    float frequency = 1.0F / power;
    if (rope.scaling) frequency = Scale(frequency, *rope.scaling);
    if (!divisors.empty()) frequency /= divisors[static_cast<size_t>(i)];
    frequencies.push_back(frequency);
  }
  return frequencies;
}

RopeTable MakeRopeTable(std::span<const float> frequencies, int64_t positions) {
  const auto half = static_cast<int64_t>(frequencies.size());
  RopeTable table{Tensor(DType::kF32, {positions, half}), Tensor(DType::kF32, {positions, half})};
  for (int64_t position = 0; position < positions; ++position) {
    float* cos = table.cos.view().row_as<float>(position);
    float* sin = table.sin.view().row_as<float>(position);
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies[static_cast<size_t>(i)];
      cos[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sin[i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  return table;
}

}  // namespace trireme
