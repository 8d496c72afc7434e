// Figures of repeated measurements, and the table that they are shown in. A figure is the median of
// its repetitions, beside the least and the most of them: a spread tells whether the machine had
// other work.
#pragma once

#include <string>
#include <vector>

namespace trireme {

// The value below which so much (in [0, 1]) of the sample lies, between neighbours by straight
// line; 0 of none.
double Quantile(std::vector<double> sample, double share);

inline double Median(std::vector<double> sample) { return Quantile(std::move(sample), 0.5); }

// Columns as wide as their widest cell; the first is aligned left, the others right. Rows may be
// shorter than the heading.
std::string TextTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace trireme
