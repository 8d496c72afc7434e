#include "tests/bench/machine_limits.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/machine_limits.cc"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Reads every byte once; the sum keeps the compiler honest.
uint64_t ReadAll(const uint64_t* data, size_t count) {
  const hn::ScalableTag<uint64_t> d;
  const size_t width = hn::Lanes(d);
  auto a = hn::Zero(d);
  auto b = hn::Zero(d);
  auto e = hn::Zero(d);
  auto f = hn::Zero(d);
  for (size_t i = 0; i + 4 * width <= count; i += 4 * width) {
    a = hn::Xor(a, hn::LoadU(d, data + i));
    b = hn::Xor(b, hn::LoadU(d, data + i + width));
    e = hn::Xor(e, hn::LoadU(d, data + i + 2 * width));
    f = hn::Xor(f, hn::LoadU(d, data + i + 3 * width));
  }
  return hn::GetLane(hn::Xor(hn::Xor(a, b), hn::Xor(e, f)));
}

// Twelve independent chains; returns the number of operations done.
double MultiplyAdd(int64_t rounds, float* sink) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const V factor = hn::Set(d, 0.999f);
  // Different from each other, or the compiler would keep one chain for all.
  const V step = hn::Set(d, 0.01f);
  V s0 = factor;
  V s1 = hn::Add(s0, step);
  V s2 = hn::Add(s1, step);
  V s3 = hn::Add(s2, step);
  V s4 = hn::Add(s3, step);
  V s5 = hn::Add(s4, step);
  V s6 = hn::Add(s5, step);
  V s7 = hn::Add(s6, step);
  V s8 = hn::Add(s7, step);
  V s9 = hn::Add(s8, step);
  V s10 = hn::Add(s9, step);
  V s11 = hn::Add(s10, step);
  for (int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(s0, factor, factor);
    s1 = hn::MulAdd(s1, factor, factor);
    s2 = hn::MulAdd(s2, factor, factor);
    s3 = hn::MulAdd(s3, factor, factor);
    s4 = hn::MulAdd(s4, factor, factor);
    s5 = hn::MulAdd(s5, factor, factor);
    s6 = hn::MulAdd(s6, factor, factor);
    s7 = hn::MulAdd(s7, factor, factor);
    s8 = hn::MulAdd(s8, factor, factor);
    s9 = hn::MulAdd(s9, factor, factor);
    s10 = hn::MulAdd(s10, factor, factor);
    s11 = hn::MulAdd(s11, factor, factor);
  }
  const V low = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  const V high = hn::Add(hn::Add(hn::Add(s6, s7), hn::Add(s8, s9)), hn::Add(s10, s11));
  *sink = hn::GetLane(hn::Add(low, high));
  return static_cast<double>(rounds) * 12 * 2 * static_cast<double>(hn::Lanes(d));
}

}  // namespace trireme::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#if HWY_ARCH_X86
#include <immintrin.h>
#endif

namespace trireme {
HWY_EXPORT(ReadAll);
HWY_EXPORT(MultiplyAdd);

namespace {

constexpr int kRepetitions = 7;
constexpr size_t kReadWords = size_t{32} << 20;  // 256 MiB
constexpr int64_t kRounds = 20'000'000;

// Seconds that `body(thread)` takes on all threads at once.
template <typename Body>
double SecondsOnThreads(int threads, const Body& body) {
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < threads; ++i) workers.emplace_back([&body, i] { body(i); });
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

#if HWY_ARCH_X86
bool HasVnni() { return __builtin_cpu_supports("avx512vnni") != 0; }

// As MultiplyAdd, of 64 bytes each.
__attribute__((target("avx512f,avx512vnni"))) double MultiplyBytes(int64_t rounds, float* sink) {
  constexpr int kChains = 12;
  const __m512i bytes = _mm512_set1_epi8(3);
  __m512i sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_epi32(i);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], bytes, bytes);
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  *sink = static_cast<float>(_mm512_reduce_add_epi32(sums[0]));
  return static_cast<double>(rounds) * kChains * 2 * 64;
}
#else
bool HasVnni() { return false; }
double MultiplyBytes(int64_t, float*) { return 0; }
#endif

// Operations a second of `multiply` on all threads at once.
template <typename Multiply>
double Rate(int threads, const Multiply& multiply) {
  std::vector<float> sinks(static_cast<size_t>(threads) * 16);
  std::vector<double> operations(static_cast<size_t>(threads));
  const double seconds = SecondsOnThreads(threads, [&](int thread) {
    const auto i = static_cast<size_t>(thread);
    operations[i] = multiply(kRounds, &sinks[i * 16]);
  });
  double total = 0;
  for (const double each : operations) total += each;
  return total / seconds;
}

}  // namespace

MachineLimits MeasureLimits(int threads) {
  MachineLimits limits;
  const std::vector<uint64_t> memory(kReadWords, 1);
  const size_t share = kReadWords / static_cast<size_t>(threads);
  std::vector<uint64_t> sums(static_cast<size_t>(threads) * 8);
  for (int repetition = 0; repetition < kRepetitions; ++repetition) {
    const double read_seconds = SecondsOnThreads(threads, [&](int thread) {
      const auto i = static_cast<size_t>(thread);
      sums[i * 8] = HWY_DYNAMIC_DISPATCH(ReadAll)(memory.data() + i * share, share);
    });
    const double bytes = static_cast<double>(share) * sizeof(uint64_t) * threads;
    limits.read_bytes_per_second = std::max(limits.read_bytes_per_second, bytes / read_seconds);
    limits.flops_per_second =
        std::max(limits.flops_per_second, Rate(threads, [](int64_t rounds, float* sink) {
                   return HWY_DYNAMIC_DISPATCH(MultiplyAdd)(rounds, sink);
                 }));
    if (HasVnni()) {
      limits.int8_ops_per_second =
          std::max(limits.int8_ops_per_second, Rate(threads, MultiplyBytes));
    }
  }
  return limits;
}

}  // namespace trireme
#endif
