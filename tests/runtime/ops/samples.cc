#include "tests/runtime/ops/samples.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/ops/scalar_math.h"

namespace trireme {
namespace {

// Where a block type keeps its halves.
std::vector<int> HalfOffsets(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ5_0:
      return {0};
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ6_K:
      return {208};
    default:
      return {};
  }
}

}  // namespace

int64_t Sampler::Integer(int64_t lowest, int64_t highest) {
  return std::uniform_int_distribution<int64_t>(lowest, highest)(random_);
}

float Sampler::Value() {
  switch (Integer(0, 40)) {
    case 0:
      return 0.0f;
    case 1:
      return -0.0f;
    case 2:
      return 1e-41f;
    case 3:
      return -3e-39f;
    case 4:
      return 6.5e4f;
    case 5:
      return -1.0f;
    default:
      return std::normal_distribution<float>(0, 1)(random_);
  }
}

std::vector<float> Sampler::Values(int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = Value();
  return values;
}

uint16_t Sampler::Half() { return FloatToHalf(std::clamp(Value() * 0.1f, -100.0f, 100.0f)); }

Tensor Sampler::Weights(DType dtype, int64_t rows, int64_t columns) {
  Tensor tensor(dtype, Shape{rows, columns});
  const TensorView view = tensor.view();
  const DTypeTraits& traits = Traits(dtype);
  const int64_t blocks = rows * columns / traits.block_elements;
  for (int64_t block = 0; block < blocks; ++block) {
    std::byte* at = view.data + block * traits.block_bytes;
    if (dtype == DType::kF32) {
      const float value = Value();
      std::memcpy(at, &value, sizeof value);
    } else if (dtype == DType::kF16) {
      const uint16_t half = FloatToHalf(std::clamp(Value(), -6e4f, 6e4f));
      std::memcpy(at, &half, sizeof half);
    } else if (dtype == DType::kBF16) {
      const float value = Value();
      std::memcpy(at, reinterpret_cast<const std::byte*>(&value) + 2, 2);
    } else {
      for (int i = 0; i < traits.block_bytes; ++i) at[i] = static_cast<std::byte>(Integer(0, 255));
      // The two NaNs of F8 become zeros.
      if (dtype == DType::kF8E4M3 && (at[0] & std::byte{0x7F}) == std::byte{0x7F}) {
        at[0] &= std::byte{0x80};
      }
      for (const int offset : HalfOffsets(dtype)) {
        const uint16_t half = Half();
        std::memcpy(at + offset, &half, sizeof half);
      }
    }
  }
  return tensor;
}

PagedSequences MakePages(const PageShape& shape, std::span<const int64_t> lengths,
                         Sampler& sampler) {
  PagedSequences made;
  made.page_offsets.push_back(0);
  for (const int64_t length : lengths) {
    const int64_t pages = (length + shape.page_tokens - 1) / shape.page_tokens;
    made.page_offsets.push_back(made.page_offsets.back() + static_cast<int32_t>(pages));
  }
  const int32_t total = made.page_offsets.back();
  for (int32_t page = 0; page < total; ++page) made.pages.push_back(page);
  for (size_t i = made.pages.size(); i > 1; --i) {
    std::swap(made.pages[i - 1],
              made.pages[static_cast<size_t>(sampler.Integer(0, static_cast<int64_t>(i) - 1))]);
  }
  const Shape extents{total, shape.kv_heads, shape.page_tokens, shape.head_dim};
  made.k = Tensor(shape.dtype, extents);
  made.v = Tensor(shape.dtype, extents);
  return made;
}

std::vector<Backend> AllCpuBackends(Arithmetic arithmetic) {
  std::vector<Backend> backends;
  for (const std::string& target : CpuTargets()) {
    for (const int threads : {1, 2, 3}) {
      auto ops = MakeCpuOps({.threads = threads, .target = target, .arithmetic = arithmetic});
      TRI_CHECK_OK(ops.status());
      backends.push_back(
          {target + " x" + std::to_string(threads), *std::move(ops), HasBf16Products(target)});
    }
  }
  return backends;
}

int64_t FirstDifference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) return static_cast<int64_t>(i);
  }
  return -1;
}

}  // namespace trireme
