#include "runtime/ops/int8_group.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "runtime/ops/ops.h"
#include "tests/runtime/ops/samples.h"

namespace trireme {
namespace {

TEST(ScaleOfInt8, HoldsTheLargestAt127) {
  for (const float largest : {1e-30f, 0.1f, 1.0f, 127.0f, 3.3e38f}) {
    const Int8Scale scale = ScaleOfInt8(largest);
    EXPECT_EQ(std::nearbyint(largest * scale.inverse), 127) << largest;
    EXPECT_NEAR(scale.d * 127 / largest, 1, 1e-6) << largest;
  }
}

TEST(ScaleOfInt8, IsZeroWhereThereIsNothingToScale) {
  for (const float largest : {0.0f, std::numeric_limits<float>::denorm_min(), 1e-38f}) {
    EXPECT_EQ(ScaleOfInt8(largest).inverse, 0) << largest;
  }
}

TEST(ScaleOfInt8, DoesNotTurnAnErrorIntoANumber) {
  for (const float largest :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_TRUE(std::isnan(ScaleOfInt8(largest).d));
    EXPECT_EQ(ScaleOfInt8(largest).inverse, 0);
  }
}

// A token with a value that is not finite has NaN for its outputs, and the others theirs.
TEST(NativeLinear, KeepsWhatIsNotANumber) {
  std::vector<Backend> backends = AllCpuBackends(Arithmetic::kNative);
  backends.push_back({"reference", MakeReferenceOps(Arithmetic::kNative)});
  for (const Backend& backend : backends) {
    for (const DType dtype :
         {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ4_K, DType::kQ6_K}) {
      for (const float wrong :
           {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
            std::numeric_limits<float>::quiet_NaN()}) {
        Sampler sampler(5);
        Tensor w = sampler.Weights(dtype, 20, 256);
        std::vector<float> x = sampler.Values(9 * 256);
        x[4 * 256 + 40] = wrong;
        std::vector<float> out(9 * 20);
        backend.ops->Linear(Matrix(std::as_const(x), 9, 256), std::as_const(w).view(),
                            Matrix(out, 9, 20));
        for (size_t i = 0; i < out.size(); ++i) {
          EXPECT_EQ(std::isnan(out[i]), i / 20 == 4) << backend.name << " " << Name(dtype) << i;
        }
      }
    }
  }
}

// The rounding of activations to 8 bits is all that differs from fp32.
TEST(NativeLinear, IsCloseToFp32) {
  const std::unique_ptr<Ops> native = *MakeCpuOps({.arithmetic = Arithmetic::kNative});
  const std::unique_ptr<Ops> exact = *MakeCpuOps({});
  for (const DType dtype :
       {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    constexpr int64_t kWidth = 512;
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    Sampler sampler(3);
    Tensor w = sampler.Weights(dtype, 40, kWidth);
    std::vector<float> x(kWidth);
    for (float& value : x) value = normal(random);
    std::vector<float> expected(40);
    std::vector<float> actual(40);
    exact->Linear(Matrix(std::as_const(x), 1, kWidth), std::as_const(w).view(),
                  Matrix(expected, 1, 40));
    native->Linear(Matrix(std::as_const(x), 1, kWidth), std::as_const(w).view(),
                   Matrix(actual, 1, 40));
    double error = 0;
    double size = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
      error += std::pow(static_cast<double>(actual[i] - expected[i]), 2);
      size += std::pow(static_cast<double>(expected[i]), 2);
    }
    EXPECT_LT(std::sqrt(error / size), 0.02) << Name(dtype);
    EXPECT_GT(error, 0) << Name(dtype) << " was not multiplied in integers";
  }
}

}  // namespace
}  // namespace trireme
