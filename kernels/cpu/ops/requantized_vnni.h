#pragma once
// Requantized products (requantized.h) with AVX-512 VNNI.
#include "kernels/cpu/ops/panel_groups_avx512.h"
#include "kernels/cpu/ops/panel_matmul.h"
#include "kernels/panels/requantized.h"

namespace lq::kernels {
namespace {

/// A token's block: words of 32 bits, those of codes and shifts each for a run.
struct RequantizedToken {
  using X = RequantizedActivations;
  __m256i codes[X::kRuns];
  __m256i shifts;
  std::int32_t begin;
  float scale;

  void quantize(const float* x) {
    const BlockScale block(x);
    scale = block.scale;
    const __m256i powers = powers_of(block.quotients);
    block.round(x, _mm256_castsi256_ps(powers), codes);
    shifts = _mm256_sub_epi32(_mm256_srli_epi32(powers, 23), _mm256_set1_epi32(kLeastExponent));
    __m256i first, second;
    sum_halves(codes, first, second);
    begin = -128 * sum_of_words(_mm256_sllv_epi32(_mm256_add_epi32(first, second), shifts));
  }

 private:
  /// power_bits() of eight quotients.
  static __m256i powers_of(__m256 quotients) {
    const __m256i below = _mm256_set1_epi32(kBelowExponent);
    const __m256i up =
        _mm256_andnot_si256(below, _mm256_add_epi32(_mm256_castps_si256(quotients), below));
    return _mm256_max_epu32(up, _mm256_set1_epi32(kLeastExponent << 23));
  }
  static std::int32_t sum_of_words(__m256i v) {
    alignas(32) std::int32_t word[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(word), v);
    std::int32_t sum = 0;
    for (const std::int32_t w : word) sum += w;
    return sum;
  }
};

template <int T>
inline void requantize_tile(const QuantizeArgs& a) {
  using X = RequantizedActivations;
  constexpr std::size_t kStride = sizeof(RequantizedToken);
  float padded[X::kColumns];
  RequantizedToken token[T];
  std::byte* block = a.tile;
  for (int i = 0; i < activation_blocks(a.cols); ++i, block += T * X::kTokenBytes) {
    for (int t = 0; t < T; ++t)
      token[t].quantize(whole_block(a.x + static_cast<std::size_t>(t) * a.stride, X::kColumns * i,
                                    t < a.n_tokens ? a.cols : 0, padded));
    for (int run = 0; run < X::kRuns; ++run)
      put_words<T, kStride>(token[0].codes[run], block + 32 * T * run, T);
    put_words<T, kStride>(token[0].shifts, block + T * X::kShifts, T);
    for (int t = 0; t < T; ++t) {
      __builtin_memcpy(block + T * X::kBegin + 4 * t, &token[t].begin, 4);
      __builtin_memcpy(block + T * X::kScale + 4 * t, &token[t].scale, 4);
    }
  }
}

inline void requantize_avx2(const QuantizeArgs& a) noexcept {
  requantize_tile<kRequantizedTile>(a);
}

/// 256 columns of 16 rows: what a code is multiplied with and added to, twice 16 bits a row.
template <PanelForm F>
struct RequantizedColumns {
  using Layout = PanelLayout<F>;
  using X = RequantizedActivations;
  static constexpr int kMostGroups = 256 / F.group;
  __m512i step[kMostGroups], start[kMostGroups];
  __m512 unit;  ///< / 2^8

  void unpack(const std::byte* tiles, int n_tiles) {
    const int n_groups = n_tiles * Layout::kGroups;
    __m512 steps[kMostGroups], lows[kMostGroups];
    __m512i zeros[kMostGroups];
    __m512 peak = _mm512_setzero_ps();
    for (int g = 0; g < n_groups; ++g) {
      const GroupWeights<F> group(tiles + g / Layout::kGroups * Layout::kBytes,
                                  g % Layout::kGroups);
      steps[g] = group.step;
      if constexpr (F.mins) lows[g] = group.low;
      if constexpr (F.zeros) zeros[g] = _mm512_cvtps_epi32(group.zero);
      for (const float code : {0.0f, static_cast<float>(Layout::kMaxCode)})
        peak = _mm512_max_ps(magnitude(group.value(_mm512_set1_ps(code))), peak);
    }
    unit = _mm512_mul_ps(_mm512_div_ps(peak, _mm512_set1_ps(127)), _mm512_set1_ps(0x1p-8f));
    const __m512 inverse =
        _mm512_div_ps(_mm512_set1_ps(kUnits), _mm512_max_ps(peak, _mm512_set1_ps(kTinyPeak)));
    for (int g = 0; g < n_groups; ++g) {
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(steps[g], inverse));
      const __m512i middle = _mm512_set1_epi32(kMiddle);
      step[g] = both_halves(whole);
      if constexpr (F.mins) {
        start[g] = _mm512_add_epi32(middle, _mm512_cvtps_epi32(_mm512_mul_ps(lows[g], inverse)));
      } else if constexpr (F.zeros) {
        start[g] = _mm512_sub_epi32(middle, _mm512_mullo_epi16(step[g], zeros[g]));
      } else {
        static_assert(F.zero > 0);
        start[g] = _mm512_sub_epi32(middle, _mm512_slli_epi32(whole, __builtin_ctz(F.zero)));
      }
      start[g] = both_halves(start[g]);
    }
  }

  /// The weights of a unit with codes.
  __m512i weights(__m512i codes, int g) const {
    const __m512i upper = _mm512_set1_epi16(static_cast<short>(0xff00));
    const __m512i even = _mm512_andnot_si512(upper, codes), odd = _mm512_srli_epi16(codes, 8);
    const __m512i even_sum = _mm512_add_epi16(_mm512_mullo_epi16(even, step[g]), start[g]);
    const __m512i odd_sum = _mm512_add_epi16(_mm512_mullo_epi16(odd, step[g]), start[g]);
    constexpr __mmask64 kOddBytes = 0xaaaaaaaaaaaaaaaau;
    return _mm512_mask_blend_epi8(kOddBytes, _mm512_srli_epi16(even_sum, 8), odd_sum);
  }

  /// y[t][rows] += the columns times x.
  template <int T>
  void add_product(const UnpackedUnits& weights, int n_tiles, const std::byte* x,
                   float (*y)[kPanelRows]) const {
    __m512i total[T];
    for (int t = 0; t < T; ++t) total[t] = broadcast_word(x + T * X::kBegin + 4 * t);
    for (int run = 0; run < n_tiles * Layout::kTileRuns; ++run) {
      __m512i sum[T];
      for (__m512i& s : sum) s = _mm512_setzero_si512();
      add_units<kRunUnits, T>(weights, x + 32 * T * run, run, 0, sum);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
        total[t] = _mm512_add_epi32(
            total[t],
            _mm512_sllv_epi32(sum[t], broadcast_word(x + T * X::kShifts + 4 * (run * T + t))));
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      _mm512_storeu_ps(
          y[t], _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(total[t]), unit),
                                broadcast_float(x + T * X::kScale + 4 * t), _mm512_loadu_ps(y[t])));
  }

 private:
  static __m512 magnitude(__m512 v) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)));
  }
  static __m512i both_halves(__m512i v) {
    return _mm512_or_si512(_mm512_slli_epi32(v, 16),
                           _mm512_and_si512(v, _mm512_set1_epi32(0xffff)));
  }
};

struct RequantizedVnni {
  using X = RequantizedActivations;
  static constexpr int kWidest = kRequantizedTile, kBlockTokens = 128, kBlockColumns = 2048;
  template <PanelForm F>
  using Many = RequantizedColumns<F>;
  using Unpacked = UnpackedUnits;
  template <PanelForm F>
  static void unpack_run(const std::byte* tiles, int run, const Many<F>& columns,
                         std::uint8_t* weights) {
    const PackedUnits<F> packed{tiles};
#pragma GCC unroll 8
    for (int k = 0; k < kRunUnits; ++k, weights += kUnitBytes)
      _mm512_storeu_si512(
          weights, columns.weights(packed.unit(run, k), (run * kRunUnits + k) * 4 / F.group));
  }
};

template <class Block>
struct MultiplyRequantizedVnni {
  static void run(const PanelMatmulArgs& a) noexcept {
    multiply_many<RequantizedVnni, Block::kPanel>(a);
  }
};

}  // namespace
}  // namespace lq::kernels
