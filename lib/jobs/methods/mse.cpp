// The scale with the least squared error: that of round to nearest, made smaller in steps of 1 % of
// the group's range, as GPTQ's code offers it. The largest values are cut, all others get finer
// steps.
#include "lib/jobs/weight_method.h"

namespace lq {

void choose_mse(const MethodRows& rows, IntegerRows& into) {
  constexpr int kTries = 80;
  for_each_group(rows, [&](const float* x, std::size_t at) {
    const kernels::ValueRange range = rows.kernels.range(x, rows.group);
    kernels::GroupFit best = fit_range(rows, range);
    float least = rows.kernels.squared_error(x, rows.group, best);
    for (int i = 1; i < kTries && least > 0; ++i) {
      const float share = 1 - static_cast<float>(i) / 100;
      const kernels::GroupFit fit = fit_range(rows, {range.low * share, range.high * share});
      const float error = rows.kernels.squared_error(x, rows.group, fit);
      if (error >= least) continue;
      least = error;
      best = fit;
    }
    store_group(rows, at, best, into);
  });
}

}  // namespace lq
