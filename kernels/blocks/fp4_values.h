#pragma once
// What MXFP4 and NVFP4 share: codes of 4 bits that are floats, E2M1. Everything here is twice their
// value, which makes integers of them; the scales make up for it.
#include <cstdint>

#include "kernels/rounding.h"

namespace lq::kernels {

/// Twice the value of a code. Bit 3 is the sign; -0 reads as 0.
LQ_HD constexpr float fp4_twice(int code) {
  constexpr std::int8_t values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  return static_cast<float>(values[code]);
}

struct Fp4Choice {
  float error;
  int code;
};
LQ_HD Fp4Choice nearer(Fp4Choice best, int code, float error) {
  const bool better = error < best.error;
  return {better ? error : best.error, better ? code : best.code};
}

/// The code whose fp4_twice() times `scale` is nearest to x, of equally near ones the smallest in
/// magnitude: what is too far away to tell apart becomes 0, as it does in the formats' reference.
/// Without branches, so that loops over it become vector code.
LQ_HD int fp4_nearest(float x, float scale) {
  const float magnitude = fabsf(x);
  Fp4Choice best = {magnitude, 0};
  best = nearer(best, 1, fabsf(scale - magnitude));
  best = nearer(best, 2, fabsf(2 * scale - magnitude));
  best = nearer(best, 3, fabsf(3 * scale - magnitude));
  best = nearer(best, 4, fabsf(4 * scale - magnitude));
  best = nearer(best, 5, fabsf(6 * scale - magnitude));
  best = nearer(best, 6, fabsf(8 * scale - magnitude));
  best = nearer(best, 7, fabsf(12 * scale - magnitude));
  const int sign = x < 0 ? 8 : 0;
  return best.code > 0 ? best.code + sign : 0;
}

/// Codes of n = 2 h values: packed[j] holds value j in the low nibble, value j + h in the high one.
template <int N>
LQ_HD void store_fp4_codes(const float* x, float scale, std::uint8_t* packed) {
  int code[N];
  for (int i = 0; i < N; ++i) code[i] = fp4_nearest(x[i], scale);
  for (int i = 0; i < N / 2; ++i)
    packed[i] = static_cast<std::uint8_t>(code[i] | (code[i + N / 2] << 4));
}

}  // namespace lq::kernels
