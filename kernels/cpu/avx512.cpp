// AVX-512 (F, BW, DQ, VL): 16 floats at a time between products, in attention and where encoders
// search. The rest is avx2's.
#include <math.h>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/attention_lanes.h"
#include "kernels/cpu/ops/encode_table.h"
#include "kernels/cpu/ops/floats_avx512.h"
#include "kernels/cpu/ops/lanes_avx512.h"
#include "kernels/cpu/ops/peak_loops.h"
#include "kernels/cpu/ops/vector_avx512.h"

namespace lq::kernels {
namespace {

/// body(i, lanes) for vectors of n values.
template <class Body>
inline void for_each_vector(std::size_t n, const Body& body) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) body(i, static_cast<__mmask16>(0xffff));
  if (i < n) body(i, first_16_lanes(n - i));
}

void rms_norm_avx512(const float* x, const float* weight, float eps, int n, float* y) noexcept {
  const auto count = static_cast<std::size_t>(n);
  __m512 squares[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  for_each_vector(count, [&](std::size_t i, __mmask16 lanes) {
    const __m512 v = _mm512_maskz_loadu_ps(lanes, x + i);
    squares[i / 16 % 2] = _mm512_fmadd_ps(v, v, squares[i / 16 % 2]);
  });
  const float mean =
      _mm512_reduce_add_ps(_mm512_add_ps(squares[0], squares[1])) / static_cast<float>(n);
  const __m512 inverse = _mm512_set1_ps(1.0f / sqrtf(mean + eps));
  for_each_vector(count, [&](std::size_t i, __mmask16 lanes) {
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), inverse);
    _mm512_mask_storeu_ps(y + i, lanes,
                          _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(lanes, weight + i)));
  });
}

void silu_multiply_avx512(const float* gate, const float* up, std::size_t n, float* y) noexcept {
  for_each_vector(n, [&](std::size_t i, __mmask16 lanes) {
    const __m512 g = _mm512_maskz_loadu_ps(lanes, gate + i);
    const __m512 e = exp_of(_mm512_xor_ps(g, _mm512_set1_ps(-0.0f)));
    const __m512 silu = _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1), e));
    _mm512_mask_storeu_ps(y + i, lanes, _mm512_mul_ps(silu, _mm512_maskz_loadu_ps(lanes, up + i)));
  });
}

void add_avx512(const float* x, std::size_t n, float* y) noexcept {
  for_each_vector(n, [&](std::size_t i, __mmask16 lanes) {
    _mm512_mask_storeu_ps(
        y + i, lanes,
        _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, x + i), _mm512_maskz_loadu_ps(lanes, y + i)));
  });
}

void peak_of_floats_avx512(int rounds) noexcept {
  run_chains(rounds, _mm512_set1_ps(0.5f),
             [](__m512 sum, __m512 factor) { return _mm512_fmadd_ps(sum, factor, factor); });
}

consteval KernelTable make_table() {
  KernelTable table{.name = "avx512"};
  set_searching_encoders<LanesAvx512>(table);
  table.float_peak = {peak_of_floats_avx512, kPeakChains * 2 * 16};
  table.rms_norm = rms_norm_avx512;
  table.silu_multiply = silu_multiply_avx512;
  table.add = add_avx512;
  set_attention<Floats16>(table);
  return table;
}

}  // namespace

extern constinit const KernelTable kAvx512Kernels = make_table();

}  // namespace lq::kernels
