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

/// How much the error of each value counts when an importance matrix is given: large values count
/// more, the less so the smaller they are against their surroundings. Returns the sum.
template <int N>
LQ_HD float importance_weights(const float* x, const float* importance, float mean_square,
                               float* weight) {
  float sum = 0;
  for (int i = 0; i < N; ++i) {
    weight[i] = importance[i] * sqrtf(mean_square + x[i] * x[i]);
    sum += weight[i];
  }
  return sum;
}

/// Sums over a group: weight * x * code and weight * code^2. Their quotient is the best scale for
/// these codes.
struct FitSums {
  float xl, ll;
};

template <int N, int kRange>
LQ_HD FitSums signed_sums(const float* x, const float* weight, const float* weight_x,
                          float inverse) {
  FitSums sums = {0, 0};
  for (int i = 0; i < N; ++i) {
    const auto l = static_cast<float>(clamp_int(round_even(inverse * x[i]), -kRange, kRange - 1));
    sums.xl += weight_x[i] * l;
    sums.ll += weight[i] * l * l;
  }
  return sums;
}

/// Symmetric codes: x ~ scale * (code - kRange), code in [0, 2 * kRange). Weights are null for
/// weights of x^2. Returns the scale; its sign is part of the choice.
template <int N, int kRange>
LQ_HD float search_signed(const float* x, const float* weights, std::uint8_t* code) {
  const float peak = peak_value(x, N);
  if (fabsf(peak) < kTinyGroup) {
    for (int i = 0; i < N; ++i) code[i] = 0;
    return 0;
  }
  float weight[N], weight_x[N];
  for (int i = 0; i < N; ++i) {
    weight[i] = weights ? weights[i] : x[i] * x[i];
    weight_x[i] = weight[i] * x[i];
  }
  float inverse = -static_cast<float>(kRange) / peak;
  FitSums sums = signed_sums<N, kRange>(x, weight, weight_x, inverse);
  float scale = sums.ll != 0 ? sums.xl / sums.ll : 0;
  float best = scale * sums.xl;
  for (int k = -9; k <= 9; ++k) {
    if (k == 0) continue;
    const float candidate = -(kRange + 0.1f * static_cast<float>(k)) / peak;
    sums = signed_sums<N, kRange>(x, weight, weight_x, candidate);
    if (sums.ll > 0 && sums.xl * sums.xl > best * sums.ll) {
      inverse = candidate;
      scale = sums.xl / sums.ll;
      best = scale * sums.xl;
    }
  }
  for (int i = 0; i < N; ++i) {
    const int l = clamp_int(round_even(inverse * x[i]), -kRange, kRange - 1);
    code[i] = static_cast<std::uint8_t>(l + kRange);
  }
  return scale;
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
  FitSums sums = {0, 0};
  for (int i = 0; i < N; ++i) {
    level[i] = clamp_int(round_even(inverse * x[i]), -kRange, kRange - 1);
    const auto l = static_cast<float>(level[i]);
    sums.xl += weight_x[i] * l;
    sums.ll += weight[i] * l * l;
  }
  bool changed = true;
  for (int sweep = 0; sweep < 5 && changed; ++sweep) {
    changed = false;
    for (int i = 0; i < N; ++i) {
      const auto l = static_cast<float>(level[i]);
      float xl = sums.xl - weight_x[i] * l;
      if (!(xl > 0)) continue;
      float ll = sums.ll - weight[i] * l * l;
      const int better = clamp_int(round_even(x[i] * ll / xl), -kRange, kRange - 1);
      if (better == level[i]) continue;
      const auto b = static_cast<float>(better);
      xl += weight_x[i] * b;
      ll += weight[i] * b * b;
      if (ll > 0 && xl * xl * sums.ll > sums.xl * sums.xl * ll) {
        level[i] = better;
        sums = {xl, ll};
        changed = true;
      }
    }
  }
  for (int i = 0; i < N; ++i) code[i] = static_cast<std::uint8_t>(level[i] + kRange);
  return sums.ll > 0 ? sums.xl / sums.ll : 0;
}

/// x ~ scale * code - min; min is not negative.
struct AffineFit {
  float scale, min;
};

/// Candidates of the affine search: inverse scales (largest code + first + k * step) / range of x,
/// k = 0..steps.
struct AffineCandidates {
  float first, step;
  int steps;
  bool absolute;  ///< minimise absolute errors instead of squared ones
};

/// The candidates of every type when an importance matrix is given.
inline constexpr AffineCandidates kImportanceCandidates = {-0.9f, 0.05f, 36, false};

template <int N>
LQ_HD float affine_error(const float* x, const float* weight, const float* code, float scale,
                         float low, bool absolute) {
  float error = 0;
  for (int i = 0; i < N; ++i) {
    const float d = scale * code[i] + low - x[i];
    error += weight[i] * (absolute ? fabsf(d) : d * d);
  }
  return error;
}

/// One candidate: codes for this inverse scale and lower end, then the best fit for these codes.
/// Returns false when the codes do not determine a fit.
struct AffineTrial {
  float sum_w, sum_wx;  ///< sums of weight and of weight * x over the group
  float scale, low;     ///< out: the fit
};
template <int N, int kMax>
LQ_HD bool fit_affine(const float* x, const float* weight, float inverse, float low,
                      AffineTrial& trial, float* code) {
  float l1 = 0, l2 = 0, xl = 0;
  for (int i = 0; i < N; ++i) {
    const auto l = static_cast<float>(clamp_int(round_even(inverse * (x[i] - low)), 0, kMax));
    code[i] = l;
    l1 += weight[i] * l;
    l2 += weight[i] * l * l;
    xl += weight[i] * l * x[i];
  }
  const float determinant = trial.sum_w * l2 - l1 * l1;
  if (!(determinant > 0)) return false;
  trial.scale = (trial.sum_w * xl - trial.sum_wx * l1) / determinant;
  trial.low = (l2 * trial.sum_wx - l1 * xl) / determinant;
  if (trial.low > 0) {
    trial.low = 0;
    trial.scale = xl / l2;
  }
  return true;
}

/// Codes in [0, kMax] with a scale and a minimum.
template <int N, int kMax>
LQ_HD AffineFit search_affine(const float* x, const float* weight,
                              const AffineCandidates& candidates, std::uint8_t* code) {
  float low = x[0], high = x[0];
  AffineTrial trial = {weight[0], weight[0] * x[0], 0, 0};
  for (int i = 1; i < N; ++i) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
    trial.sum_w += weight[i];
    trial.sum_wx += weight[i] * x[i];
  }
  if (low > 0) low = 0;
  if (high == low) {
    for (int i = 0; i < N; ++i) code[i] = 0;
    return {0, -low};
  }
  float best_inverse = kMax / (high - low), best_low = low;
  float scale = 1 / best_inverse;
  float trial_code[N];
  for (int i = 0; i < N; ++i)
    trial_code[i] = static_cast<float>(clamp_int(round_even(best_inverse * (x[i] - low)), 0, kMax));
  float best = affine_error<N>(x, weight, trial_code, scale, low, candidates.absolute);
  for (int k = 0; k <= candidates.steps; ++k) {
    const float offset = candidates.first + candidates.step * static_cast<float>(k) + kMax;
    const float inverse = offset / (high - low);
    if (!fit_affine<N, kMax>(x, weight, inverse, low, trial, trial_code)) continue;
    const float error =
        affine_error<N>(x, weight, trial_code, trial.scale, trial.low, candidates.absolute);
    if (error < best) {
      best = error;
      best_inverse = inverse;
      best_low = low;  // the end that these codes were made with
      scale = trial.scale;
      low = trial.low;  // later candidates start from here
    }
  }
  for (int i = 0; i < N; ++i)
    code[i] =
        static_cast<std::uint8_t>(clamp_int(round_even(best_inverse * (x[i] - best_low)), 0, kMax));
  return {scale, -low};
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

/// Improves codes of positive values one at a time; starts from the sums of the present ones.
template <int N, int kMax>
LQ_HD FitSums improve_positive(const float* x, const float* weight, FitSums sums,
                               std::uint8_t* code) {
  bool changed = true;
  for (int sweep = 0; sweep < 5 && changed; ++sweep) {
    changed = false;
    for (int i = 0; i < N; ++i) {
      const auto l = static_cast<float>(code[i]);
      float xl = sums.xl - weight[i] * x[i] * l;
      float ll = sums.ll - weight[i] * l * l;
      if (!(xl > 0 && ll > 0)) continue;
      const int rounded = round_even(x[i] * ll / xl);
      const int better = rounded < kMax ? rounded : kMax;
      if (better == code[i]) continue;
      const auto b = static_cast<float>(better);
      xl += weight[i] * x[i] * b;
      ll += weight[i] * b * b;
      if (xl * xl * sums.ll > sums.xl * sums.xl * ll) {
        code[i] = static_cast<std::uint8_t>(better);
        sums = {xl, ll};
        changed = true;
      }
    }
  }
  return sums;
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
  FitSums sums = {0, 0};
  for (int i = 0; i < N; ++i) {
    const int rounded = round_even(inverse * x[i]);
    const int l = rounded < kMax ? rounded : kMax;
    code[i] = static_cast<std::uint8_t>(l);
    sums.xl += weight[i] * x[i] * static_cast<float>(l);
    sums.ll += weight[i] * static_cast<float>(l) * static_cast<float>(l);
  }
  sums = improve_positive<N, kMax>(x, weight, sums, code);
  return sums.ll > 0 ? sums.xl / sums.ll : 0;
}

}  // namespace lq::kernels
