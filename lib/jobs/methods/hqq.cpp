// Half-Quadratic Quantization (Badri, Shaji 2023; https://mobiusml.github.io/hqq_blog): the zero
// point that makes sum |error|^0.7 small, so that outliers count less than in a squared error. The
// method's zero points are no integers; the layouts want integers, so that the zero is rounded at
// the end and the scale fitted to the codes anew.
#include <algorithm>
#include <cmath>

#include "lib/jobs/weight_method.h"

namespace lq {
namespace {

constexpr int kSteps = 20;
constexpr float kBeta = 10, kBetaGrowth = 1.01f;

/// The zero point, no integer, after the last step that made the error smaller.
float half_quadratic_zero(const MethodRows& rows, const float* x, kernels::GroupFit fit) {
  float best = fit.zero, least = HUGE_VALF, beta = kBeta;
  for (int i = 0; i < kSteps; ++i) {
    const kernels::HalfQuadraticStep step = rows.kernels.half_quadratic(x, rows.group, fit, beta);
    if (!(step.error < least)) break;
    least = step.error;
    best = fit.zero;
    fit.zero = step.zero;
    beta *= kBetaGrowth;
  }
  return best;
}

}  // namespace

void choose_hqq(const MethodRows& rows, IntegerRows& into) {
  for_each_group(rows, [&](const float* x, std::size_t at) {
    const kernels::ValueRange range = rows.kernels.range(x, rows.group);
    kernels::GroupFit fit = fit_range(rows, range);
    const kernels::GroupFit rounded = fit;
    fit.zero = fit.low - range.low / fit.scale;
    fit.zero = half_quadratic_zero(rows, x, fit);
    fit.zero = std::nearbyint(std::clamp(fit.zero, fit.low, fit.high));
    for (int i = 0; i < 2; ++i) {
      const kernels::ScaleSums sums = rows.kernels.scale_sums(x, rows.group, fit);
      if (!(sums.square > 0) || !(sums.product > 0)) break;
      fit.scale = rows.kernels.hold(sums.product / sums.square);
    }
    const bool better = rows.kernels.squared_error(x, rows.group, fit) <
                        rows.kernels.squared_error(x, rows.group, rounded);
    store_group(rows, at, better ? fit : rounded, into);
  });
}

}  // namespace lq
