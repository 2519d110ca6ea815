#pragma once
// Requantized products (requantized.h) with VNNI, for vectors V of 16 rows.
#include "kernels/cpu/ops/panel_groups.h"
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
template <class V, PanelForm F>
struct RequantizedColumns {
  using Layout = PanelLayout<F>;
  using X = RequantizedActivations;
  using Integers = typename V::Integers;
  using Floats = typename V::Floats;
  static constexpr int kMostGroups = 256 / F.group;
  Integers step[kMostGroups], start[kMostGroups];
  Floats unit;  ///< / 2^8

  void unpack(const std::byte* tiles, int n_tiles) {
    const int n_groups = n_tiles * Layout::kGroups;
    Floats steps[kMostGroups], lows[kMostGroups];
    Integers zeros[kMostGroups];
    Floats peak = V::floats(0);
    for (int g = 0; g < n_groups; ++g) {
      const GroupWeights<V, F> group(tiles + g / Layout::kGroups * Layout::kBytes,
                                     g % Layout::kGroups);
      steps[g] = group.step;
      if constexpr (F.mins) lows[g] = group.low;
      if constexpr (F.zeros) zeros[g] = V::to_words(group.zero);
      for (const float code : {0.0f, static_cast<float>(Layout::kMaxCode)})
        peak = V::largest(V::magnitude(group.value(V::floats(code))), peak);
    }
    unit = V::multiply(V::divide(peak, V::floats(127)), V::floats(0x1p-8f));
    const Floats inverse = V::divide(V::floats(kUnits), V::largest(peak, V::floats(kTinyPeak)));
    for (int g = 0; g < n_groups; ++g) {
      const Integers whole = V::to_words(V::multiply(steps[g], inverse));
      const Integers middle = V::words(kMiddle);
      step[g] = both_halves(whole);
      if constexpr (F.mins) {
        start[g] = V::add_32(middle, V::to_words(V::multiply(lows[g], inverse)));
      } else if constexpr (F.zeros) {
        start[g] = V::subtract_32(middle, V::multiply_16(step[g], zeros[g]));
      } else {
        static_assert(F.zero > 0);
        start[g] = V::subtract_32(middle, V::shift_left_32(whole, __builtin_ctz(F.zero)));
      }
      start[g] = both_halves(start[g]);
    }
  }

  /// The weights of a unit with codes.
  Integers weights(Integers codes, int g) const {
    const Integers even = V::bits_and(codes, V::halves(0x00ff)), odd = V::shift_right_16(codes, 8);
    const Integers even_sum = V::add_16(V::multiply_16(even, step[g]), start[g]);
    const Integers odd_sum = V::add_16(V::multiply_16(odd, step[g]), start[g]);
    return V::merge_bytes(V::shift_right_16(even_sum, 8), odd_sum);
  }

  /// y[t][rows] += the columns times x.
  template <int T>
  void add_product(const UnpackedUnits<V>& weights, int n_tiles, const std::byte* x,
                   float (*y)[kPanelRows]) const {
    // What tokens have stands side by side in words: those of the next ones are as many further.
    for (int t = 0; t < T; t += V::kTokens) add_tokens<T>(weights, n_tiles, x + 4 * t, y + t);
  }

 private:
  /// The first V::kTokens of T tokens.
  template <int T>
  void add_tokens(const UnpackedUnits<V>& weights, int n_tiles, const std::byte* x,
                  float (*y)[kPanelRows]) const {
    constexpr int N = V::kTokens;
    static_assert(T % N == 0);
    Integers total[N];
    for (int t = 0; t < N; ++t) total[t] = V::broadcast_word(x + T * X::kBegin + 4 * t);
    for (int run = 0; run < n_tiles * Layout::kTileRuns; ++run) {
      Integers sum[N];
      for (Integers& s : sum) s = V::words(0);
      add_units<V, kRunUnits, T>(weights, x + 32 * T * run, run, 0, sum);
#pragma GCC unroll 8
      for (int t = 0; t < N; ++t)
        total[t] = V::add_32(
            total[t],
            V::shift_left_32(sum[t], V::broadcast_word(x + T * X::kShifts + 4 * (run * T + t))));
    }
#pragma GCC unroll 8
    for (int t = 0; t < N; ++t)
      V::store_floats(y[t], V::multiply_add(V::multiply(V::to_floats(total[t]), unit),
                                            V::broadcast_float(x + T * X::kScale + 4 * t),
                                            V::load_floats(y[t])));
  }

  static Integers both_halves(Integers v) {
    return V::bits_or(V::shift_left_32(v, 16), V::bits_and(v, V::words(0xffff)));
  }
};

template <class V>
struct RequantizedVnni {
  using X = RequantizedActivations;
  static constexpr int kWidest = kRequantizedTile, kBlockTokens = 128, kBlockColumns = 2048;
  template <PanelForm F>
  using Many = RequantizedColumns<V, F>;
  using Unpacked = UnpackedUnits<V>;
  template <PanelForm F>
  static void unpack_run(const std::byte* tiles, int run, const Many<F>& columns,
                         std::uint8_t* weights) {
    const PackedUnits<V, F> packed{tiles};
#pragma GCC unroll 8
    for (int k = 0; k < kRunUnits; ++k, weights += kUnitBytes)
      V::store(weights, columns.weights(packed.unit(run, k), (run * kRunUnits + k) * 4 / F.group));
  }

  template <class Block>
  struct Multiply {
    static void run(const PanelMatmulArgs& a) noexcept {
      multiply_many<RequantizedVnni, Block::kPanel>(a);
    }
  };
};

}  // namespace
}  // namespace lq::kernels
