// SiluMul, Add and Embed: one pass over rows.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "runtime/ops/cpu/rows.cc"
#include "runtime/ops/cpu/targets.h"
// Highway re-includes this file once a target; order matters.
#include "hwy/foreach_target.h"
#include "runtime/ops/cpu/decode-inl.h"
#include "runtime/ops/cpu/exp-inl.h"
#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/cpu/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace trireme::cpu::HWY_NAMESPACE {
#if TRI_CPU_KERNELS

void SiluMul(TensorView gate, ConstTensorView up, Range tokens) {
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    float* g = gate.row_as<float>(t);
    const float* u = up.row_as<float>(t);
    ForEachVector(gate.columns(), [=](auto d, int64_t i) HWY_ATTR {
      const auto value = hn::LoadU(d, g + i);
      const auto divisor = hn::Add(hn::Set(d, 1.0f), VectorExp(d, hn::Neg(value)));
      hn::StoreU(hn::Mul(hn::Div(value, divisor), hn::LoadU(d, u + i)), d, g + i);
    });
  }
}

void Add(TensorView x, ConstTensorView y, Range tokens) {
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    float* to = x.row_as<float>(t);
    const float* from = y.row_as<float>(t);
    ForEachVector(x.columns(), [=](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, to + i), hn::LoadU(d, from + i)), d, to + i);
    });
  }
}

namespace {

template <class W>
void EmbedRow(const uint8_t* row, int64_t width, float* out) {
  // Adding +0 turns -0 into +0, as a sum over ranks would.
  const auto add_zero = [](const Lanes& lanes) HWY_ATTR {
    Lanes sum;
    for (int p = 0; p < kParts; ++p) sum.part[p] = hn::Add(lanes.part[p], hn::Zero(DF()));
    return sum;
  };
  const int64_t units = width / W::kUnit;
  ForEachUnit<W>(row, 0, units, [=](int64_t unit, const Lanes* lanes) HWY_ATTR {
    float* to = out + unit * W::kUnit;
    for (int64_t p = 0; p < W::kUnit / 16; ++p) StoreLanes(add_zero(lanes[p]), to + 16 * p);
  });
  if constexpr (W::kElementBytes > 0) {
    const int64_t left = width % 16;
    if (left == 0) return;
    HWY_ALIGN float tail[16];
    StoreLanes(add_zero(DecodeTail<W>(row + units * 16 * W::kElementBytes, left)), tail);
    std::copy_n(tail, left, out + units * 16);
  }
}

}  // namespace

void Embed(const EmbedArgs& args, Range tokens) {
  const int64_t width = args.out.columns();
  for (int64_t t = tokens.begin; t < tokens.end; ++t) {
    float* out = args.out.row_as<float>(t);
    const int64_t row = args.ids[static_cast<size_t>(t)] - args.first_row;
    if (row < 0 || row >= args.table.rows()) {
      std::fill_n(out, width, 0.0f);
      continue;
    }
    const auto* from = reinterpret_cast<const uint8_t*>(args.table.row(row));
    WithWeights(args.table.dtype,
                [&](auto reader) { EmbedRow<decltype(reader)>(from, width, out); });
  }
}

#endif
}  // namespace trireme::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
