// The choice of experts: plain scalar code.
#include <algorithm>

#include "runtime/ops/cpu/kernels.h"
#include "runtime/ops/scalar_math.h"

namespace trireme::cpu {
namespace {

// The first of the greatest logits that are not among `chosen`, which are few.
int32_t NextChoice(std::span<const float> logits, std::span<const int32_t> chosen) {
  int32_t best = -1;
  for (int32_t expert = 0; expert < static_cast<int32_t>(logits.size()); ++expert) {
    const float logit = logits[static_cast<size_t>(expert)];
    if (best >= 0 && !(logit > logits[static_cast<size_t>(best)])) continue;
    if (std::find(chosen.begin(), chosen.end(), expert) == chosen.end()) best = expert;
  }
  return best;
}

void ChooseExperts(std::span<const float> logits, size_t first_slot, const Routing& routing) {
  const auto per_token = static_cast<size_t>(routing.per_token);
  const std::span<int32_t> chosen = routing.experts.subspan(first_slot, per_token);
  for (size_t i = 0; i < per_token; ++i) {
    chosen[i] = NextChoice(logits, chosen.first(i));
    const auto expert = static_cast<size_t>(chosen[i]);
    routing.scores[first_slot + i] = 1.0f / (1.0f + Exp(-logits[expert]));
    ++routing.loads[expert];
  }
}

// A counting sort of the slots of held experts.
void GroupSlots(const Routing& routing) {
  const std::span<int32_t> offsets = routing.offsets;
  std::fill(offsets.begin(), offsets.end(), 0);
  const auto is_held = [&](int32_t expert) {
    return expert >= routing.held.begin && expert < routing.held.end;
  };
  const auto index = [&](int32_t expert) {
    return static_cast<size_t>(expert - routing.held.begin);
  };
  for (const int32_t expert : routing.experts) {
    if (is_held(expert)) ++offsets[index(expert) + 1];
  }
  for (size_t e = 1; e < offsets.size(); ++e) offsets[e] += offsets[e - 1];
  for (size_t slot = 0; slot < routing.experts.size(); ++slot) {
    const int32_t expert = routing.experts[slot];
    if (!is_held(expert)) continue;
    routing.rows[static_cast<size_t>(offsets[index(expert)]++)] = static_cast<int32_t>(slot);
  }
  // Each beginning has moved to its end, which is the next one's beginning.
  std::copy_backward(offsets.begin(), offsets.end() - 1, offsets.end());
  offsets[0] = 0;
}

}  // namespace

void Route(ConstTensorView logits, const Routing& routing) {
  const auto experts = static_cast<size_t>(logits.columns());
  for (int64_t t = 0; t < logits.rows(); ++t) {
    ChooseExperts({logits.row_as<float>(t), experts}, static_cast<size_t>(t * routing.per_token),
                  routing);
  }
  GroupSlots(routing);
}

}  // namespace trireme::cpu
