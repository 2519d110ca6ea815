#include "lib/base/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace lq {
namespace {

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

Spread spread_of(std::span<const double> samples) {
  if (samples.empty()) return {};
  Spread spread;
  spread.median = median_of({samples.begin(), samples.end()});
  std::vector<double> deviations;
  for (const double sample : samples) deviations.push_back(std::abs(sample - spread.median));
  spread.mad = median_of(deviations);
  spread.least = *std::min_element(samples.begin(), samples.end());
  spread.most = *std::max_element(samples.begin(), samples.end());
  return spread;
}

}  // namespace lq
