#pragma once
// Small helpers on 16 floats.
#include "kernels/cpu/ops/floats_avx512.h"

namespace lq::kernels {
namespace {

/// Lanes 0 .. n-1; n >= 16: all.
inline __mmask16 first_16_lanes(std::size_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << n) - 1);
}

/// e^x as in vector_avx2.h, with 16 lanes.
inline __m512 exp_of(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-104.0f), _mm512_min_ps(_mm512_set1_ps(89.0f), x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e430p-1f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-0x1.05c610p-29f), r);
  __m512 series = _mm512_set1_ps(1.0f / 5040);
  for (const float term : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
    series = _mm512_fmadd_ps(series, r, _mm512_set1_ps(term));
  // Scaling rounds once, below the normal numbers too.
  return _mm512_scalef_ps(series, n);
}

}  // namespace
}  // namespace lq::kernels
