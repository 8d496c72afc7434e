#include "runtime/sampling/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>

#include "absl/strings/str_format.h"
#include "runtime/base/check.h"
#include "runtime/sampling/philox.h"
#include "runtime/sampling/portable_math.h"

namespace trireme {
namespace {

constexpr float kMaxTemperature = 100;

bool AllFinite(std::span<const float> logits) {
  constexpr uint32_t kExponent = 0x7f800000;
  bool finite = true;
  for (const float logit : logits) {
    finite &= (std::bit_cast<uint32_t>(logit) & kExponent) != kExponent;
  }
  return finite;
}

// The lower id of equals.
int32_t LargestLogit(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// Each value replaced by its exponential: a loop of its own, so that the compiler vectorises it.
void Exponentiate(std::span<double> values) {
  for (double& value : values) value = PortableExp(value);
}

// ln of the sum of e^(logit - largest), in eight interleaved partial sums: a fixed order that
// vector units of any width up to eight doubles can follow.
double LogOfSum(std::span<const float> logits, float largest) {
  constexpr size_t kLanes = 8;
  constexpr size_t kPiece = 512;
  std::array<double, kLanes> lanes{};
  std::array<double, kPiece> values{};
  for (size_t begin = 0; begin < logits.size(); begin += kPiece) {
    const std::span<const float> piece =
        logits.subspan(begin, std::min(kPiece, logits.size() - begin));
    for (size_t i = 0; i < piece.size(); ++i) {
      values[i] = static_cast<double>(piece[i]) - static_cast<double>(largest);
    }
    Exponentiate(std::span(values).first(piece.size()));
    // Zeros change no sum.
    std::fill(values.begin() + static_cast<std::ptrdiff_t>(piece.size()), values.end(), 0.0);
    for (size_t i = 0; i < kPiece; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane];
    }
  }
  return PortableLog(((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                     ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7])));
}

// Where top_k cuts: logits below are dropped.
float KthLargest(std::span<const float> logits, size_t k, std::vector<float>& scratch) {
  // Small k: one pass with a heap of k, which most logits do not enter. Large k: selection on a
  // copy.
  constexpr size_t kMaxHeap = 512;
  if (k <= kMaxHeap) {
    scratch.resize(k);
    std::partial_sort_copy(logits.begin(), logits.end(), scratch.begin(), scratch.end(),
                           std::greater<>());
    return scratch.back();
  }
  scratch.assign(logits.begin(), logits.end());
  const auto kth = scratch.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(scratch.begin(), kth, scratch.end(), std::greater<>());
  return *kth;
}

double Mass(const std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) sum += weight;
  return sum;
}

// The survivors' weights, which lie in [0, 1], dealt into buckets of rising weight: 64 a power of
// two, and one for all below 2^-63. Finding where top_p cuts then needs a sort of one bucket only;
// sorting a flat distribution over 200,000 tokens whole took 30 ms.
constexpr int kBucketsPerOctaveLog2 = 6;
constexpr int kOctaves = 63;
constexpr size_t kBuckets = (size_t{kOctaves} << kBucketsPerOctaveLog2) + 1;

size_t BucketOf(double weight) {
  constexpr int kMantissaBits = 52;
  constexpr int64_t kFirst = int64_t{1023 - kOctaves} << kBucketsPerOctaveLog2;
  const auto bits = std::bit_cast<int64_t>(weight) >> (kMantissaBits - kBucketsPerOctaveLog2);
  return static_cast<size_t>(std::max<int64_t>(bits - kFirst, 0));
}

// The least likely token that top_p keeps.
struct Cut {
  double weight = 0;
  int32_t id = std::numeric_limits<int32_t>::max();

  // True for tokens more likely than the cut's, by weight and then by lower id, and for the cut's
  // own.
  bool Keeps(double other_weight, int32_t other_id) const {
    return other_weight != weight ? other_weight > weight : other_id <= id;
  }
};

// Walks tokens from the most likely down to where their mass reaches top_p of the whole.
Cut FindTopPCut(double top_p, SamplerScratch& survivors) {
  std::array<double, kBuckets> buckets{};
  for (const double weight : survivors.weights) buckets[BucketOf(weight)] += weight;
  double total = 0;
  for (size_t bucket = kBuckets; bucket-- > 0;) total += buckets[bucket];

  const double wanted = top_p * total;
  double mass = 0;
  size_t bucket = kBuckets - 1;
  while (bucket > 0 && mass + buckets[bucket] < wanted) mass += buckets[bucket--];

  std::vector<size_t>& ranked = survivors.ranked;
  ranked.clear();
  for (size_t i = 0; i < survivors.ids.size(); ++i) {
    if (BucketOf(survivors.weights[i]) == bucket) ranked.push_back(i);
  }
  // Ids ascend, so the lower index of equals is the lower id.
  std::sort(ranked.begin(), ranked.end(), [&](size_t a, size_t b) {
    return survivors.weights[a] != survivors.weights[b]
               ? survivors.weights[a] > survivors.weights[b]
               : a < b;
  });
  Cut cut;
  for (const size_t i : ranked) {
    mass += survivors.weights[i];
    cut = {survivors.weights[i], survivors.ids[i]};
    if (mass >= wanted) break;
  }
  return cut;
}

void ApplyTopP(double top_p, SamplerScratch& survivors) {
  const Cut cut = FindTopPCut(top_p, survivors);
  size_t kept = 0;
  for (size_t i = 0; i < survivors.ids.size(); ++i) {
    if (!cut.Keeps(survivors.weights[i], survivors.ids[i])) continue;
    survivors.ids[kept] = survivors.ids[i];
    survivors.weights[kept] = survivors.weights[i];
    ++kept;
  }
  survivors.ids.resize(kept);
  survivors.weights.resize(kept);
}

// Steps 2 to 5 of the header; leaves the survivors in scratch.
void Filter(std::span<const float> logits, const SamplingParams& params, float largest,
            SamplerScratch& scratch) {
  const double inverse_temperature = 1.0 / static_cast<double>(params.temperature);
  const double least_scaled = params.min_p > 0 ? PortableLog(static_cast<double>(params.min_p))
                                               : -std::numeric_limits<double>::infinity();
  // min_p keeps an upper part of the logits, so the k-th largest of what it keeps is the k-th
  // largest of all, or lies below what it keeps and cuts nothing.
  float least_logit = -std::numeric_limits<float>::infinity();
  const auto k = static_cast<size_t>(params.top_k);
  if (k > 0 && k < logits.size()) least_logit = KthLargest(logits, k, scratch.logits);

  scratch.ids.resize(logits.size());
  scratch.weights.resize(logits.size());
  size_t kept = 0;
  for (size_t id = 0; id < logits.size(); ++id) {
    const double scaled =
        (static_cast<double>(logits[id]) - static_cast<double>(largest)) * inverse_temperature;
    scratch.ids[kept] = static_cast<int32_t>(id);
    scratch.weights[kept] = scaled;
    kept += logits[id] >= least_logit && scaled >= least_scaled ? 1 : 0;
  }
  scratch.ids.resize(kept);
  scratch.weights.resize(kept);
  Exponentiate(scratch.weights);
  if (params.top_p < 1) ApplyTopP(static_cast<double>(params.top_p), scratch);
}

int32_t Draw(const SamplerScratch& survivors, double uniform) {
  const double wanted = uniform * Mass(survivors.weights);
  size_t chosen = 0;
  double sum = survivors.weights[0];
  while (sum <= wanted) {
    ++chosen;
    // Mass adds in this order, and uniform < 1 keeps the product below it.
    TRI_CHECK_LT(chosen, survivors.ids.size());
    sum += survivors.weights[chosen];
  }
  return survivors.ids[chosen];
}

int32_t ChooseToken(std::span<const float> logits, const SampleRow& row, int32_t most_likely,
                    SamplerScratch& scratch) {
  if (row.target >= 0) {
    TRI_CHECK_LT(static_cast<size_t>(row.target), logits.size());
    return row.target;
  }
  if (row.params.temperature < kGreedyTemperature) return most_likely;
  Filter(logits, row.params, logits[static_cast<size_t>(most_likely)], scratch);
  return Draw(scratch, UniformDraw(row.params.seed, row.sequence, row.draw));
}

// The ids of the `count` largest logits, largest first, ties by lower id.
std::vector<int32_t> LargestLogits(std::span<const float> logits, size_t count) {
  const auto larger = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  // A heap with the least of the chosen on top: most logits lose to it with one comparison.
  std::vector<int32_t> chosen;
  chosen.reserve(count);
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (chosen.size() == count) {
      if (!larger(id, chosen.front())) continue;
      std::pop_heap(chosen.begin(), chosen.end(), larger);
      chosen.pop_back();
    }
    chosen.push_back(id);
    std::push_heap(chosen.begin(), chosen.end(), larger);
  }
  std::sort_heap(chosen.begin(), chosen.end(), larger);
  return chosen;
}

}  // namespace

absl::Status ValidateSamplingParams(const SamplingParams& params) {
  // Each condition is false for NaN.
  if (!(params.temperature >= 0 && params.temperature <= kMaxTemperature)) {
    return absl::InvalidArgumentError(absl::StrFormat("temperature must be from 0 to %g; got %g",
                                                      kMaxTemperature, params.temperature));
  }
  if (params.top_k < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("top_k must be at least 1, or 0 for off; got %d", params.top_k));
  }
  if (!(params.top_p > 0 && params.top_p <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("top_p must be above 0 and at most 1 (1 for off); got %g", params.top_p));
  }
  if (!(params.min_p >= 0 && params.min_p <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("min_p must be from 0 (off) to 1; got %g", params.min_p));
  }
  return absl::OkStatus();
}

SampledToken Sample(std::span<const float> logits, const SampleRow& row, SamplerScratch& scratch) {
  TRI_CHECK(!logits.empty());
  SampledToken sampled;
  if (row.want_logits) sampled.logits.assign(logits.begin(), logits.end());
  sampled.finite = AllFinite(logits);
  if (!sampled.finite) return sampled;

  const int32_t most_likely = LargestLogit(logits);
  sampled.token = ChooseToken(logits, row, most_likely, scratch);
  if (row.num_logprobs < 0) return sampled;

  const float largest = logits[static_cast<size_t>(most_likely)];
  const double log_of_sum = LogOfSum(logits, largest);
  const auto logprob = [&](int32_t id) {
    const double logit = logits[static_cast<size_t>(id)];
    return static_cast<float>((logit - static_cast<double>(largest)) - log_of_sum);
  };
  sampled.logprob = logprob(sampled.token);
  if (row.num_logprobs > 0) {
    const auto count = std::min(static_cast<size_t>(row.num_logprobs), logits.size());
    sampled.top_tokens = LargestLogits(logits, count);
    sampled.top_logprobs.reserve(count);
    for (const int32_t id : sampled.top_tokens) sampled.top_logprobs.push_back(logprob(id));
  }
  return sampled;
}

SampledToken Sample(std::span<const float> logits, const SampleRow& row) {
  SamplerScratch scratch;
  return Sample(logits, row, scratch);
}

std::vector<float> FilteredProbabilities(std::span<const float> logits,
                                         const SamplingParams& params) {
  TRI_CHECK(!logits.empty() && AllFinite(logits));
  std::vector<float> probabilities(logits.size());
  const auto most_likely = static_cast<size_t>(LargestLogit(logits));
  if (params.temperature < kGreedyTemperature) {
    probabilities[most_likely] = 1;
    return probabilities;
  }
  SamplerScratch scratch;
  Filter(logits, params, logits[most_likely], scratch);
  const double mass = Mass(scratch.weights);
  for (size_t i = 0; i < scratch.ids.size(); ++i) {
    probabilities[static_cast<size_t>(scratch.ids[i])] =
        static_cast<float>(scratch.weights[i] / mass);
  }
  return probabilities;
}

}  // namespace trireme
