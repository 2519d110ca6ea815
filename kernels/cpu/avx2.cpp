// AVX2 with FMA and F16C: 8 floats at a time.
#include <math.h>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/attention_lanes.h"
#include "kernels/cpu/ops/decode_scaled_avx2.h"
#include "kernels/cpu/ops/encode_table.h"
#include "kernels/cpu/ops/float_codes_avx2.h"
#include "kernels/cpu/ops/floats_avx2.h"
#include "kernels/cpu/ops/groups_avx2.h"
#include "kernels/cpu/ops/lanes_avx2.h"
#include "kernels/cpu/ops/matmul_avx2.h"
#include "kernels/cpu/ops/panel_matmul.h"
#include "kernels/cpu/ops/panel_products_avx2.h"
#include "kernels/cpu/ops/peak_loops.h"

namespace lq::kernels {
namespace {

void rms_norm_avx2(const float* x, const float* weight, float eps, int n, float* y) noexcept {
  __m256 squares[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int i = 0; i < n; i += 8) {
    const __m256 v = _mm256_maskload_ps(x + i, first_lanes(n - i));
    squares[i / 8 % 2] = _mm256_fmadd_ps(v, v, squares[i / 8 % 2]);
  }
  const float mean = sum_of(_mm256_add_ps(squares[0], squares[1])) / static_cast<float>(n);
  const __m256 inverse = _mm256_set1_ps(1.0f / sqrtf(mean + eps));
  for (int i = 0; i < n; i += 8) {
    const __m256i lanes = first_lanes(n - i);
    const __m256 scaled = _mm256_mul_ps(_mm256_maskload_ps(x + i, lanes), inverse);
    _mm256_maskstore_ps(y + i, lanes, _mm256_mul_ps(scaled, _mm256_maskload_ps(weight + i, lanes)));
  }
}

__m256 silu_times(__m256 gate, __m256 up) {
  const __m256 one = _mm256_set1_ps(1);
  const __m256 e = exp_of(_mm256_xor_ps(gate, _mm256_set1_ps(-0.0f)));
  return _mm256_mul_ps(_mm256_div_ps(gate, _mm256_add_ps(one, e)), up);
}

void silu_multiply_avx2(const float* gate, const float* up, std::size_t n, float* y) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(y + i, silu_times(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
  if (i == n) return;
  const __m256i lanes = first_lanes(static_cast<int>(n - i));
  _mm256_maskstore_ps(
      y + i, lanes,
      silu_times(_mm256_maskload_ps(gate + i, lanes), _mm256_maskload_ps(up + i, lanes)));
}

void add_avx2(const float* x, std::size_t n, float* y) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
  for (; i < n; ++i) y[i] += x[i];
}

bool all_finite_avx2(const float* x, std::size_t n) noexcept {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i largest[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (std::size_t j = 0; j < 2; ++j) {
      const __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(x + i + 8 * j));
      largest[j] = _mm256_max_epi32(largest[j], _mm256_and_si256(bits, magnitude));
    }
  bool finite = true;
  for (; i < n; ++i) finite = finite && float_is_finite(x[i]);
  const __m256i infinite =
      _mm256_cmpgt_epi32(_mm256_max_epi32(largest[0], largest[1]), _mm256_set1_epi32(0x7f7fffff));
  return finite && _mm256_testz_si256(infinite, infinite) != 0;
}

void to_half_avx2(const float* x, std::size_t n, std::uint16_t* y) noexcept {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    if (_mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) != 0) {
      // The processor keeps bits of a NaN, the definition does not.
      for (std::size_t j = i; j < i + 8; ++j) y[j] = float_to_half(x[j]);
      continue;
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i),
                     _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  for (; i < n; ++i) y[i] = float_to_half(x[i]);
}

void encode_f16_avx2(const float* row, const float*, void* blocks, std::size_t n_values) noexcept {
  to_half_avx2(row, n_values, static_cast<std::uint16_t*>(blocks));
}

void peak_of_codes_avx2(int rounds) noexcept {
  run_chains(rounds, _mm256_set1_epi8(1), [](__m256i sum, __m256i factor) {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(sum, factor));
  });
}
void peak_of_floats_avx2(int rounds) noexcept {
  run_chains(rounds, _mm256_set1_ps(0.5f),
             [](__m256 sum, __m256 factor) { return _mm256_fmadd_ps(sum, factor, factor); });
}

template <class Block>
consteval void add_matmul(KernelTable& table, DType type) {
  if constexpr (requires { Decoder<Block>::kStep; })
    table.matmul[static_cast<int>(type)] = matmul_avx2<Block>;
}

consteval KernelTable make_table() {
  KernelTable table{.name = "avx2"};
  set_avx2_codecs(table);
  set_searching_encoders<LanesAvx2>(table);
  set_encoder(table, DType::F16, encode_f16_avx2);
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) add_matmul<Block>(table, DType::id);
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  table.panels = panel_kernels_of<PanelsAvx2, Floats8>();
  table.code_peak = {peak_of_codes_avx2, kPeakChains * 2 * 32};
  table.float_peak = {peak_of_floats_avx2, kPeakChains * 2 * 8};
  table.rms_norm = rms_norm_avx2;
  table.silu_multiply = silu_multiply_avx2;
  table.add = add_avx2;
  for (int i = 0; i < kPrecisionCount; ++i)
    table.groups[i] = by_precision<GroupKernelsAvx2>(static_cast<Precision>(i));
  table.all_finite = all_finite_avx2;
  table.to_half = to_half_avx2;
  set_attention<Floats8>(table);
  return table;
}

}  // namespace

extern constinit const KernelTable kAvx2Kernels = make_table();

}  // namespace lq::kernels
