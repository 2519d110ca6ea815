#pragma once
// Activations to 8-bit codes on AVX2.
#include "kernels/cpu/ops/transpose_avx2.h"
#include "kernels/cpu/ops/vector_avx2.h"
#include "kernels/panels/activations.h"

namespace lq::kernels {
namespace {

/// Of the lanes of eight vectors the largest each.
inline __m256 largest_of_eight(const __m256 (&v)[8]) {
  __m256 pair[4], four[2];
  for (int i = 0; i < 4; ++i)
    pair[i] = _mm256_max_ps(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                            _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 2; ++i)
    four[i] = _mm256_max_ps(_mm256_shuffle_ps(pair[2 * i], pair[2 * i + 1], 0x44),
                            _mm256_shuffle_ps(pair[2 * i], pair[2 * i + 1], 0xee));
  return _mm256_max_ps(_mm256_permute2f128_ps(four[0], four[1], 0x20),
                       _mm256_permute2f128_ps(four[0], four[1], 0x31));
}

/// The largest magnitude of each of eight runs of 32 values. A NaN leaves it alone.
inline __m256 peaks_of_runs(const float* x) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  __m256 largest[8];
  for (int run = 0; run < 8; ++run) {
    largest[run] = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i)  // a NaN is the first operand
      largest[run] = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + 32 * run + 8 * i), magnitude),
                                   largest[run]);
  }
  return largest_of_eight(largest);
}

/// ratio_bits() of eight quotients.
inline __m256 ratios_of(__m256 quotients) {
  const __m256i below = _mm256_set1_epi32(kBelowRatio), least = _mm256_set1_epi32(kLeastRatio);
  const __m256i up =
      _mm256_andnot_si256(below, _mm256_add_epi32(_mm256_castps_si256(quotients), below));
  return _mm256_castsi256_ps(_mm256_max_epu32(up, least));
}

/// Codes of 32 values.
inline __m256i codes_of(const float* x, __m256 inverse) {
  __m256i v[4];
  for (int i = 0; i < 4; ++i)
    v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/// Sums of the first and of the last 16 codes of eight runs.
inline void sum_halves(const __m256i (&codes)[8], __m256i& first, __m256i& second) {
  __m256i four[2];  // of four runs: sums of halves in the halves of a vector
  for (int i = 0; i < 2; ++i) {
    __m256i v[4];
    for (int j = 0; j < 4; ++j)
      v[j] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), codes[4 * i + j]),
                               _mm256_set1_epi16(1));
    four[i] = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  }
  first = _mm256_permute2x128_si256(four[0], four[1], 0x20);
  second = _mm256_permute2x128_si256(four[0], four[1], 0x31);
}

/// round(sum * factor) of eight runs.
inline __m256i scaled_sums(__m256i sums, __m256 factor) {
  return _mm256_cvtps_epi32(_mm256_mul_ps(factor, _mm256_cvtepi32_ps(sums)));
}
/// Two numbers of 16 bits as one word: even ones below odd ones.
inline __m256i pairs_of(__m256i even, __m256i odd) {
  return _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa);
}

/// What 256 values are rounded with. A NaN leaves it alone.
struct BlockScale {
  float scale;       ///< the largest magnitude / 127
  __m256 quotients;  ///< largest magnitudes of runs, of the block's
  float inverse;     ///< of the scale

  explicit BlockScale(const float* x) {
    const __m256 peaks = peaks_of_runs(x);
    const float largest = largest_of(peaks);
    const bool tiny = !(largest > kTinyPeak);
    scale = largest / 127.0f;
    quotients = _mm256_div_ps(peaks, _mm256_set1_ps(tiny ? 1 : largest));
    inverse = tiny ? 0 : 127.0f / largest;
  }
  /// Codes of the runs, in units of scale * their ratios.
  void round(const float* x, __m256 ratios, __m256i (&codes)[8]) const {
    alignas(32) float of_run[8];
    _mm256_store_ps(of_run, _mm256_div_ps(_mm256_set1_ps(inverse), ratios));
    for (int run = 0; run < 8; ++run)
      codes[run] = codes_of(x + 32 * run, _mm256_set1_ps(of_run[run]));
  }
};

/// A token of a block: words of 32 bits, each for a run but those of run sums, which are four.
struct TokenBlock {
  using X = Activations;
  __m256i codes[X::kRuns];
  __m256i pairs, negated[3], ratios, steps, run_sums, half_sums;
  std::uint64_t quarters;  ///< a byte a run
  float scale;

  void quantize(const float* x) {
    const BlockScale block(x);
    scale = block.scale;
    const __m256 ratio = ratios_of(block.quotients);
    block.round(x, ratio, codes);
    take_ratios(ratio);
    take_sums(ratio);
  }

 private:
  void take_ratios(__m256 ratio) {
    ratios = _mm256_castps_si256(ratio);
    const __m256i exponent = _mm256_slli_epi32(_mm256_srli_epi32(ratios, 23), 23);
    steps = _mm256_sub_epi32(_mm256_set1_epi32(127 << 23), exponent);
    const __m256i m =
        _mm256_and_si256(_mm256_srli_epi32(ratios, 21 - 6), _mm256_set1_epi32(3 << 6));
    const __m128i half =
        _mm_packus_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    quarters = static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_packus_epi16(half, half)));
  }
  void take_sums(__m256 ratio) {
    __m256i first, second;
    sum_halves(codes, first, second);
    pairs = pairs_of(first, second);
    const __m256i zero = _mm256_setzero_si256(), both = _mm256_add_epi32(first, second);
    negated[0] = _mm256_sub_epi32(zero, both);
    negated[1] = _mm256_sub_epi32(zero, first);
    negated[2] = _mm256_sub_epi32(zero, second);
    const __m256 half_units = _mm256_mul_ps(ratio, _mm256_set1_ps(X::kHalfSumUnits));
    half_sums = pairs_of(scaled_sums(first, half_units), scaled_sums(second, half_units));
    const __m256i runs = scaled_sums(both, _mm256_mul_ps(ratio, _mm256_set1_ps(X::kRunSumUnits)));
    run_sums = _mm256_castsi128_si256(
        _mm_packs_epi32(_mm256_castsi256_si128(runs), _mm256_extracti128_si256(runs, 1)));
  }
};

/// Words 0 .. kCount of T tokens, those of the first at `words` and kTokenBytes apart, side by side
/// at `to`: the next word is `stride` words further.
template <int T, std::size_t kTokenBytes, int kCount = 8>
inline void put_words(const __m256i& words, std::byte* to, std::size_t stride) {
  constexpr std::size_t kToken = kTokenBytes / sizeof(float);
  const auto* const from = reinterpret_cast<const float*>(&words);
  if constexpr (T == 8 && kCount == 8) {
    transpose_8(from, kToken, reinterpret_cast<float*>(to), stride);
  } else {
    for (std::size_t t = 0; t < T; ++t)
      for (std::size_t i = 0; i < kCount; ++i)
        __builtin_memcpy(to + 4 * (i * stride + t), from + kToken * t + i, 4);
  }
}

template <int T>
inline void put_block(const TokenBlock (&token)[T], std::byte* block) {
  using X = Activations;
  constexpr std::size_t kToken = sizeof(TokenBlock);
  for (int run = 0; run < X::kRuns; ++run)
    put_words<T, kToken>(token[0].codes[run], block + 32 * T * run, T);
  put_words<T, kToken>(token[0].pairs, block + T * X::kPairs, T);
  for (int i = 0; i < 3; ++i)
    put_words<T, kToken>(token[0].negated[i], block + T * (X::kSums + 4 * i), 3 * T);
  put_words<T, kToken>(token[0].ratios, block + T * X::kRatio, T);
  put_words<T, kToken>(token[0].steps, block + T * X::kStep, T);
  put_words<T, kToken, 4>(token[0].run_sums, block + T * X::kRunSums, T);
  put_words<T, kToken>(token[0].half_sums, block + T * X::kHalfSums, T);
  for (int t = 0; t < T; ++t) {
    for (int run = 0; run < X::kRuns; ++run)
      block[T * X::kQuarters + run * T + t] =
          static_cast<std::byte>(token[t].quarters >> (8 * run));
    __builtin_memcpy(block + T * X::kScale + 4 * t, &token[t].scale, 4);
  }
}

template <int T>
inline void quantize_tile(const QuantizeArgs& a) {
  using X = Activations;
  float padded[X::kColumns];
  TokenBlock token[T];
  for (int i = 0; i < activation_blocks(a.cols); ++i) {
    for (int t = 0; t < T; ++t)
      token[t].quantize(whole_block(a.x + static_cast<std::size_t>(t) * a.stride, X::kColumns * i,
                                    t < a.n_tokens ? a.cols : 0, padded));
    put_block<T>(token, a.tile + static_cast<std::ptrdiff_t>(i) * T * X::kTokenBytes);
  }
}

/// Tiles of up to 8 tokens.
inline void quantize_avx2(const QuantizeArgs& a) noexcept {
  if (a.width == 1) return quantize_tile<1>(a);
  if (a.width == 2) return quantize_tile<2>(a);
  if (a.width == 4) return quantize_tile<4>(a);
  quantize_tile<8>(a);
}

}  // namespace
}  // namespace lq::kernels
