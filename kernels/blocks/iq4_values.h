#pragma once
// What IQ4_NL and IQ4_XS share: codes stand for 16 values that lie closer together near 0, and the
// scale of 32 of them is the best of 16 candidates.
#include <cstdint>

#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

/// The value of each code.
LQ_HD constexpr float iq4_value(int code) {
  constexpr std::int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
  return static_cast<float>(values[code]);
}

/// The value nearest to x; of two equally near ones the larger. 113 for NaN. A ladder of selects,
/// so that loops over it become vector code.
LQ_HD float iq4_nearest(float x) {
  float value = x < -115.5f ? -127.0f : -104.0f;
  value = x < -93.5f ? value : -83.0f;
  value = x < -74.0f ? value : -65.0f;
  value = x < -57.0f ? value : -49.0f;
  value = x < -42.0f ? value : -35.0f;
  value = x < -28.5f ? value : -22.0f;
  value = x < -16.0f ? value : -10.0f;
  value = x < -4.5f ? value : 1.0f;
  value = x < 7.0f ? value : 13.0f;
  value = x < 19.0f ? value : 25.0f;
  value = x < 31.5f ? value : 38.0f;
  value = x < 45.5f ? value : 53.0f;
  value = x < 61.0f ? value : 69.0f;
  value = x < 79.0f ? value : 89.0f;
  return x < 101.0f ? value : 113.0f;
}

/// The code of iq4_nearest(x).
LQ_HD int iq4_nearest_code(float x) {
  constexpr float middles[15] = {-115.5f, -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f, -4.5f,
                                 7.0f,    19.0f,  31.5f,  45.5f,  61.0f,  79.0f,  101.0f};
  int code = 15;
  for (int k = 0; k < 15; ++k) code -= x < middles[k] ? 1 : 0;
  return code;
}

/// Codes of 32 values times `inverse`, packed: nibbles.h.
LQ_HD void store_iq4_codes(const float* x, float inverse, std::uint8_t* packed) {
  std::uint8_t code[32];
  for (int i = 0; i < 32; ++i)
    code[i] = static_cast<std::uint8_t>(iq4_nearest_code(inverse * x[i]));
  for (int i = 0; i < 16; ++i) packed[i] = static_cast<std::uint8_t>(code[i] | (code[i + 16] << 4));
}

inline constexpr int kIq4Candidates = 16;

LQ_HD FitSums<kIq4Candidates> iq4_sums(const float* x, const float* weight, const float* inverse) {
  FitSums<kIq4Candidates> sums = {};
  for (int i = 0; i < 32; ++i) {
    const float xi = x[i], w = weight[i];
#pragma GCC unroll 1
    for (int c = 0; c < kIq4Candidates; ++c) {
      const float q = iq4_nearest(inverse[c] * xi);
      const float wq = w * q;
      sums.xl[c] += wq * xi;
      sums.ll[c] += wq * q;
    }
  }
  return sums;
}

/// The scale of 32 values: x ~ scale * value of a code, the weighted squares of the errors being
/// small. 0 for values too small to store. The candidates lie side by side; the first takes the
/// peak to 127, the others to -134 .. -120.
LQ_HD float search_iq4(const float* x, const float* weight) {
  const float peak = peak_value(x, 32);
  if (fabsf(peak) < kTinyGroup) return 0;
  float inverse[kIq4Candidates];
  inverse[0] = 1 / (peak / 127);
  for (int c = 1; c < kIq4Candidates; ++c) inverse[c] = static_cast<float>(c - 135) / peak;
  const FitSums<kIq4Candidates> sums = iq4_sums(x, weight, inverse);
  float scale = sums.ll[0] > 0 ? sums.xl[0] / sums.ll[0] : 0;
  float best = scale * sums.xl[0];
  for (int c = 1; c < kIq4Candidates; ++c) {
    const float xl = sums.xl[c], ll = sums.ll[c];
    if (!(ll > 0 && xl * xl > best * ll)) continue;
    scale = xl / ll;
    best = scale * xl;
  }
  return scale;
}

/// Weights of n values for search_iq4(): by importance, or the squares of the values.
template <int N>
LQ_HD void iq4_weights(const float* x, const float* importance, float* weight) {
  if (importance) {
    const float mean_square = sum_of_squares(x, N) * (2.0f / N);
    importance_weights<N, 1>(x, importance, mean_square, weight, nullptr);
  } else {
    for (int i = 0; i < N; ++i) weight[i] = x[i] * x[i];
  }
}

}  // namespace lq::kernels
