#include "launcher/link/hottest_experts.h"

#include <algorithm>
#include <numeric>

namespace trireme {
namespace {

double ShareOf(const v1::HotExpert& expert) {
  return static_cast<double>(expert.tokens()) / static_cast<double>(expert.layer_tokens());
}

}  // namespace

std::vector<v1::HotExpert> HottestExperts(std::span<const int64_t> loads, int64_t experts,
                                          size_t most) {
  std::vector<v1::HotExpert> chosen;
  const auto width = static_cast<size_t>(experts);
  for (size_t begin = 0; begin < loads.size(); begin += width) {
    const std::span<const int64_t> layer = loads.subspan(begin, width);
    const int64_t layer_tokens = std::accumulate(layer.begin(), layer.end(), int64_t{0});
    for (size_t expert = 0; expert < width; ++expert) {
      if (layer[expert] == 0) continue;
      v1::HotExpert& one = chosen.emplace_back();
      one.set_layer(static_cast<int32_t>(begin / width));
      one.set_expert(static_cast<int32_t>(expert));
      one.set_tokens(layer[expert]);
      one.set_layer_tokens(layer_tokens);
    }
  }
  // They are in order of layer and expert.
  std::ranges::stable_sort(chosen, std::greater<>(), ShareOf);
  if (chosen.size() > most) chosen.resize(most);
  return chosen;
}

}  // namespace trireme
