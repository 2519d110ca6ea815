#include "lib/jobs/weight_method.h"

#include <algorithm>
#include <cmath>

namespace lq {

#define LQ_METHOD(name, searches, symmetric, zeros, what) \
  void choose_##name(const MethodRows& rows, IntegerRows& into);
#include "lib/jobs/methods.def"
#undef LQ_METHOD

std::span<const WeightMethod> weight_methods() {
  static const std::vector<WeightMethod> kMethods = {
#define LQ_METHOD(name, searches, symmetric, zeros, what) \
  {#name, searches, symmetric, zeros, what, choose_##name},
#include "lib/jobs/methods.def"
#undef LQ_METHOD
  };
  return kMethods;
}

const WeightMethod* find_weight_method(std::string_view name) {
  for (const WeightMethod& method : weight_methods())
    if (method.name == name) return &method;
  return nullptr;
}

void store_group(const MethodRows& rows, std::size_t at, const kernels::GroupFit& fit,
                 IntegerRows& into) {
  rows.kernels.codes(rows.values.data() + at * rows.group, rows.group, fit,
                     into.codes.data() + at * rows.group);
  into.scales[at] = fit.scale;
  into.zeros[at] = static_cast<std::int8_t>(fit.zero);
}

kernels::GroupFit fit_range(const MethodRows& rows, kernels::ValueRange range) {
  kernels::GroupFit fit{.scale = 0,
                        .zero = 0,
                        .low = kernels::lowest_code(rows.grid),
                        .high = kernels::highest_code(rows.grid)};
  if (rows.grid.symmetric) {
    fit.scale = rows.kernels.hold(std::max(-range.low, range.high) / rows.grid.peak);
    return fit;
  }
  fit.scale = rows.kernels.hold((range.high - range.low) / (fit.high - fit.low));
  fit.zero = std::nearbyint(std::clamp(fit.low - range.low / fit.scale, fit.low, fit.high));
  return fit;
}

}  // namespace lq
