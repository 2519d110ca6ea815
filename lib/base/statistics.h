#pragma once
// Robust figures of a few samples.
#include <span>

namespace lq {

/// All zero for no samples. `mad`: median of the absolute deviations from the median.
struct Spread {
  double median = 0, mad = 0, least = 0, most = 0;
};

Spread spread_of(std::span<const double> samples);

}  // namespace lq
