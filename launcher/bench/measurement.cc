#include "launcher/bench/measurement.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace trireme {

double Quantile(std::vector<double> sample, double share) {
  if (sample.empty()) return 0;
  std::ranges::sort(sample);
  const double place = share * static_cast<double>(sample.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sample.size() - 1);
  const double part = place - std::floor(place);
  return sample[below] * (1 - part) + sample[above] * part;
}

std::string TextTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    if (row.size() > widths.size()) widths.resize(row.size());
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      if (i > 0) text += "  ";
      text += i == 0 ? row[i] + space : space + row[i];
    }
    text += '\n';
  }
  return text;
}

}  // namespace trireme
