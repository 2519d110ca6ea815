#pragma once
// How encoders choose the scale of a few values: searches that minimise a weighted error over some
// candidate scales. They decide the bytes of files, so every operation is one binary32 operation in
// the order written here: no reassociation, no contraction.
#include <cmath>
#include <cstdint>

#include "kernels/rounding.h"

namespace lq::kernels {

/// Groups whose values are all smaller in magnitude are stored as zeros.
inline constexpr float kTinyGroup = 1e-15f;

LQ_HD float sum_of_squares(const float* x, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

/// Value of the largest magnitude, with its sign; the first of equals. 0 for n = 0.
LQ_HD float peak_value(const float* x, int n) {
  float magnitude = 0, value = 0;
  for (int i = 0; i < n; ++i) {
    if (fabsf(x[i]) > magnitude) {
      magnitude = fabsf(x[i]);
      value = x[i];
    }
  }
  return value;
}

/// The largest of n values and 0.
LQ_HD float largest_or_zero(const float* x, int n) {
  float largest = 0;
  for (int i = 0; i < n; ++i)
    if (x[i] > largest) largest = x[i];
  return largest;
}

/// Groups side by side: value i of group g at [i * G + g], so that one loop over g serves all
/// groups at once in vector registers while each group's sums keep their order.
template <int N, int G>
LQ_HD void lay_side_by_side(const float* x, float* groups) {
  for (int i = 0; i < N; ++i)
    for (int g = 0; g < G; ++g) groups[i * G + g] = x[g * N + i];
}

/// How much the error of each value counts when an importance matrix is given: large values count
/// more, the less so the smaller they are against their surroundings. x, importance, weight:
/// [N][G]; `total`, if not null, [G]: the sums of the weights.
template <int N, int G>
LQ_HD void importance_weights(const float* x, const float* importance, float mean_square,
                              float* weight, float* total) {
  for (int i = 0; i < N * G; ++i) weight[i] = importance[i] * sqrtf(mean_square + x[i] * x[i]);
  if (!total) return;
  for (int g = 0; g < G; ++g) total[g] = 0;
  for (int i = 0; i < N; ++i)
    for (int g = 0; g < G; ++g) total[g] += weight[i * G + g];
}

/// Of each group: its value of the largest magnitude, with its sign; the first of equals.
template <int N, int G>
LQ_HD void peak_values(const float* x, float* peak) {
  float magnitude[G] = {};
  for (int g = 0; g < G; ++g) peak[g] = 0;
  for (int i = 0; i < N; ++i) {
    for (int g = 0; g < G; ++g) {
      const float value = x[i * G + g], m = fabsf(value);
      peak[g] = m > magnitude[g] ? value : peak[g];
      magnitude[g] = m > magnitude[g] ? m : magnitude[g];
    }
  }
}

/// Sums over groups: weight * x * code and weight * code^2. Their quotient is the best scale for
/// these codes.
template <int G>
struct FitSums {
  float xl[G], ll[G];
};

template <int N, int G, int kRange>
LQ_HD FitSums<G> signed_sums(const float* x, const float* weight, const float* weight_x,
                             const float* inverse) {
  FitSums<G> sums = {};
  for (int i = 0; i < N; ++i) {
#pragma GCC unroll 1
    for (int g = 0; g < G; ++g) {
      const int at = i * G + g;
      const float l = clamp_float(round_even(inverse[g] * x[at]), -kRange, kRange - 1);
      sums.xl[g] += weight_x[at] * l;
      sums.ll[g] += weight[at] * l * l;
    }
  }
  return sums;
}

/// Symmetric codes: x ~ scale * (code - kRange), code in [0, 2 * kRange). x and weight: [N][G];
/// scale: [G], its sign is part of the choice; code: [G][N].
template <int N, int G, int kRange>
LQ_HD void search_signed(const float* x, const float* weight, float* scale, std::uint8_t* code) {
  float peak[G], inverse[G], best[G], weight_x[N * G];
  peak_values<N, G>(x, peak);
  for (int i = 0; i < N * G; ++i) weight_x[i] = weight[i] * x[i];
  for (int g = 0; g < G; ++g) inverse[g] = -static_cast<float>(kRange) / peak[g];
  const auto first = signed_sums<N, G, kRange>(x, weight, weight_x, inverse);
  for (int g = 0; g < G; ++g) {
    const float quotient = first.xl[g] / first.ll[g];
    scale[g] = first.ll[g] != 0 ? quotient : 0;
    best[g] = scale[g] * first.xl[g];
  }
  for (int k = -9; k <= 9; ++k) {
    if (k == 0) continue;
    float candidate[G];
    for (int g = 0; g < G; ++g) candidate[g] = -(kRange + 0.1f * static_cast<float>(k)) / peak[g];
    const auto sums = signed_sums<N, G, kRange>(x, weight, weight_x, candidate);
    for (int g = 0; g < G; ++g) {
      const float xl = sums.xl[g], ll = sums.ll[g], quotient = xl / ll;
      const bool better = (ll > 0) & (xl * xl > best[g] * ll);
      inverse[g] = better ? candidate[g] : inverse[g];
      scale[g] = better ? quotient : scale[g];
      best[g] = better ? quotient * xl : best[g];
    }
  }
  for (int g = 0; g < G; ++g) {
    const bool tiny = fabsf(peak[g]) < kTinyGroup;
    if (tiny) scale[g] = 0;
    for (int i = 0; i < N; ++i) {
      const int l = clamp_int(round_even(inverse[g] * x[i * G + g]), -kRange, kRange - 1);
      code[g * N + i] = static_cast<std::uint8_t>(tiny ? 0 : l + kRange);
    }
  }
}

/// Symmetric codes with weights of x^2, improved one code at a time: x ~ scale * (code - kRange).
/// A group too small to store gets codes of 0. Returns the scale.
template <int N, int kRange>
LQ_HD float search_signed_greedy(const float* x, std::uint8_t* code) {
  const float peak = peak_value(x, N);
  int level[N];
  float weight[N], weight_x[N];
  for (int i = 0; i < N; ++i) {
    code[i] = 0;
    weight[i] = x[i] * x[i];
    weight_x[i] = weight[i] * x[i];
  }
  if (fabsf(peak) < kTinyGroup) return 0;
  const float inverse = -static_cast<float>(kRange) / peak;
  float sum_xl = 0, sum_ll = 0;
  for (int i = 0; i < N; ++i) {
    level[i] = clamp_int(round_even(inverse * x[i]), -kRange, kRange - 1);
    const auto l = static_cast<float>(level[i]);
    sum_xl += weight_x[i] * l;
    sum_ll += weight[i] * l * l;
  }
  bool changed = true;
  for (int sweep = 0; sweep < 5 && changed; ++sweep) {
    changed = false;
    for (int i = 0; i < N; ++i) {
      const auto l = static_cast<float>(level[i]);
      float xl = sum_xl - weight_x[i] * l;
      if (!(xl > 0)) continue;
      float ll = sum_ll - weight[i] * l * l;
      const int better = clamp_int(round_even(x[i] * ll / xl), -kRange, kRange - 1);
      if (better == level[i]) continue;
      const auto b = static_cast<float>(better);
      xl += weight_x[i] * b;
      ll += weight[i] * b * b;
      if (ll > 0 && xl * xl * sum_ll > sum_xl * sum_xl * ll) {
        level[i] = better;
        sum_xl = xl;
        sum_ll = ll;
        changed = true;
      }
    }
  }
  for (int i = 0; i < N; ++i) code[i] = static_cast<std::uint8_t>(level[i] + kRange);
  return sum_ll > 0 ? sum_xl / sum_ll : 0;
}

/// x ~ scale * code - min for G groups; min is not negative.
template <int G>
struct AffineFits {
  float scale[G], min[G];
};

/// Candidates of the affine search: inverse scales (largest code + first + k * step) / range of x,
/// k = 0..steps.
struct AffineCandidates {
  float first, step;
  int steps;
};

/// The candidates of every type when an importance matrix is given.
LQ_HD AffineCandidates importance_candidates() { return {-0.9f, 0.05f, 36}; }

/// One number for each of G groups. By value: nothing else can point to it, so loops stay in vector
/// registers.
template <int G>
struct PerGroup {
  float of[G];
};

/// G groups of N values, side by side, as the affine search works on them.
template <int N, int G>
struct AffineProblem {
  float x[N * G];             ///< [N][G]
  float weight[N * G];        ///< [N][G]; set by the caller like x
  PerGroup<G> sum_w, sum_wx;  ///< of weight and weight * x
  PerGroup<G> low, high;      ///< range to spread the codes over; low moves during the search
  float code[N * G];          ///< of the present candidate, [N][G]
};

template <int N, int G>
LQ_HD void describe_groups(AffineProblem<N, G>& p) {
  PerGroup<G> low, high, sum_w, sum_wx;
  for (int g = 0; g < G; ++g) {
    low.of[g] = high.of[g] = p.x[g];
    sum_w.of[g] = p.weight[g];
    sum_wx.of[g] = p.weight[g] * p.x[g];
  }
  for (int i = 1; i < N; ++i) {
    for (int g = 0; g < G; ++g) {
      const float value = p.x[i * G + g], w = p.weight[i * G + g];
      low.of[g] = value < low.of[g] ? value : low.of[g];
      high.of[g] = value > high.of[g] ? value : high.of[g];
      sum_w.of[g] += w;
      sum_wx.of[g] += w * value;
    }
  }
  for (int g = 0; g < G; ++g) low.of[g] = low.of[g] > 0 ? 0 : low.of[g];
  p.low = low;
  p.high = high;
  p.sum_w = sum_w;
  p.sum_wx = sum_wx;
}

template <int kMax>
LQ_HD float affine_code(float x, float inverse, float low) {
  return clamp_float(round_even(inverse * (x - low)), 0, kMax);
}

template <bool kAbsolute, int N, int G>
LQ_HD PerGroup<G> affine_errors(const AffineProblem<N, G>& p, PerGroup<G> scale, PerGroup<G> low) {
  PerGroup<G> error = {};
  for (int i = 0; i < N; ++i) {
#pragma GCC unroll 1
    for (int g = 0; g < G; ++g) {
      const int at = i * G + g;
      const float d = scale.of[g] * p.code[at] + low.of[g] - p.x[at];
      error.of[g] += p.weight[at] * (kAbsolute ? fabsf(d) : d * d);
    }
  }
  return error;
}

/// Makes the codes for these inverse scales and sets `scale` and `low` to the best fits for these
/// codes; a fit that the codes do not determine is not a number, so its error is less than no
/// other.
template <int kMax, int N, int G>
LQ_HD void fit_affine(AffineProblem<N, G>& p, PerGroup<G> inverse, PerGroup<G>& scale,
                      PerGroup<G>& low) {
  PerGroup<G> l1 = {}, l2 = {}, xl = {};
  const PerGroup<G> start = p.low;
  for (int i = 0; i < N; ++i) {
#pragma GCC unroll 1
    for (int g = 0; g < G; ++g) {
      const int at = i * G + g;
      const float l = affine_code<kMax>(p.x[at], inverse.of[g], start.of[g]);
      p.code[at] = l;
      const float wl = p.weight[at] * l;
      l1.of[g] += wl;
      l2.of[g] += wl * l;
      xl.of[g] += wl * p.x[at];
    }
  }
  for (int g = 0; g < G; ++g) {
    const float determinant = p.sum_w.of[g] * l2.of[g] - l1.of[g] * l1.of[g];
    const float fit_scale = (p.sum_w.of[g] * xl.of[g] - p.sum_wx.of[g] * l1.of[g]) / determinant;
    const float fit_low = (l2.of[g] * p.sum_wx.of[g] - l1.of[g] * xl.of[g]) / determinant;
    const float scale_through_0 = xl.of[g] / l2.of[g];
    const bool through_0 = fit_low > 0;
    const float chosen = through_0 ? scale_through_0 : fit_scale;
    scale.of[g] = determinant > 0 ? chosen : bits_float(0x7fc00000u);
    low.of[g] = through_0 ? 0 : fit_low;
  }
}

/// Codes [G][N] in [0, kMax] with a scale and a minimum for each group. kAbsolute: minimise
/// absolute errors instead of squared ones.
template <int kMax, bool kAbsolute = false, int N, int G>
LQ_HD AffineFits<G> search_affine(AffineProblem<N, G>& p, const AffineCandidates& candidates,
                                  std::uint8_t* code) {
  describe_groups(p);
  PerGroup<G> scale, best_inverse, inverse, fit_scale, fit_low;
  PerGroup<G> best_low = p.low;
  bool flat[G];
  for (int g = 0; g < G; ++g) {
    flat[g] = p.high.of[g] == p.low.of[g];
    best_inverse.of[g] = kMax / (p.high.of[g] - p.low.of[g]);
    scale.of[g] = 1 / best_inverse.of[g];
  }
  fit_affine<kMax>(p, best_inverse, fit_scale, fit_low);  // for its codes: the first fit is simple
  PerGroup<G> best = affine_errors<kAbsolute>(p, scale, p.low);
  for (int k = 0; k <= candidates.steps; ++k) {
    const float offset = candidates.first + candidates.step * static_cast<float>(k) + kMax;
    for (int g = 0; g < G; ++g) inverse.of[g] = offset / (p.high.of[g] - p.low.of[g]);
    fit_affine<kMax>(p, inverse, fit_scale, fit_low);
    const PerGroup<G> error = affine_errors<kAbsolute>(p, fit_scale, fit_low);
    for (int g = 0; g < G; ++g) {
      const bool better = error.of[g] < best.of[g];
      best.of[g] = better ? error.of[g] : best.of[g];
      best_inverse.of[g] = better ? inverse.of[g] : best_inverse.of[g];
      best_low.of[g] = better ? p.low.of[g] : best_low.of[g];  // where these codes started
      scale.of[g] = better ? fit_scale.of[g] : scale.of[g];
      p.low.of[g] = better ? fit_low.of[g] : p.low.of[g];  // later candidates start from here
    }
  }
  AffineFits<G> fits;
  for (int g = 0; g < G; ++g) {
    fits.scale[g] = flat[g] ? 0 : scale.of[g];
    fits.min[g] = -p.low.of[g];
    for (int i = 0; i < N; ++i) {
      const float l = affine_code<kMax>(p.x[i * G + g], best_inverse.of[g], best_low.of[g]);
      code[g * N + i] = static_cast<std::uint8_t>(flat[g] ? 0 : l);
    }
  }
  return fits;
}

template <int N, int kMax>
LQ_HD float positive_error(const float* x, const float* weight, float inverse, float scale) {
  float error = 0;
  for (int i = 0; i < N; ++i) {
    const int rounded = round_even(inverse * x[i]);
    const float d = x[i] - scale * static_cast<float>(rounded < kMax ? rounded : kMax);
    error += weight[i] * d * d;
  }
  return error;
}

/// Improves codes of positive values one at a time, and with them the sums of weight * x * code and
/// weight * code^2.
template <int N, int kMax>
LQ_HD void improve_positive(const float* x, const float* weight, float& sum_xl, float& sum_ll,
                            std::uint8_t* code) {
  bool changed = true;
  for (int sweep = 0; sweep < 5 && changed; ++sweep) {
    changed = false;
    for (int i = 0; i < N; ++i) {
      const auto l = static_cast<float>(code[i]);
      float xl = sum_xl - weight[i] * x[i] * l;
      float ll = sum_ll - weight[i] * l * l;
      if (!(xl > 0 && ll > 0)) continue;
      const int rounded = round_even(x[i] * ll / xl);
      const int better = rounded < kMax ? rounded : kMax;
      if (better == code[i]) continue;
      const auto b = static_cast<float>(better);
      xl += weight[i] * x[i] * b;
      ll += weight[i] * b * b;
      if (xl * xl * sum_ll > sum_xl * sum_xl * ll) {
        code[i] = static_cast<std::uint8_t>(better);
        sum_xl = xl;
        sum_ll = ll;
        changed = true;
      }
    }
  }
}

/// Codes in [0, kMax] for values that are not negative: x ~ scale * code. Returns the scale. Codes
/// are only clamped above: a value a little below 0 wraps, as it does in the format's reference.
template <int N, int kMax>
LQ_HD float search_positive(const float* x, const float* weight, std::uint8_t* code) {
  const float peak = largest_or_zero(x, N);
  if (peak < kTinyGroup) {
    for (int i = 0; i < N; ++i) code[i] = 0;
    return 0;
  }
  float inverse = kMax / peak;
  const float first_scale = 1 / inverse;
  float best = 0;
  for (int i = 0; i < N; ++i) {
    const auto l = static_cast<std::uint8_t>(round_even(inverse * x[i]));
    const float d = x[i] - first_scale * static_cast<float>(l);
    best += weight[i] * d * d;
  }
  for (int k = -4; k <= 4; ++k) {
    if (k == 0) continue;
    const float candidate = (0.1f * static_cast<float>(k) + kMax) / peak;
    const float error = positive_error<N, kMax>(x, weight, candidate, 1 / candidate);
    if (error < best) {
      best = error;
      inverse = candidate;
    }
  }
  float sum_xl = 0, sum_ll = 0;
  for (int i = 0; i < N; ++i) {
    const int rounded = round_even(inverse * x[i]);
    const int l = rounded < kMax ? rounded : kMax;
    code[i] = static_cast<std::uint8_t>(l);
    sum_xl += weight[i] * x[i] * static_cast<float>(l);
    sum_ll += weight[i] * static_cast<float>(l) * static_cast<float>(l);
  }
  improve_positive<N, kMax>(x, weight, sum_xl, sum_ll, code);
  return sum_ll > 0 ? sum_xl / sum_ll : 0;
}

}  // namespace lq::kernels
