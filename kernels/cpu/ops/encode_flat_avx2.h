#pragma once
// Encoders that search nothing: one pass over 32 values in four registers. What is rare (scales
// that have no finite inverse, zeros whose sign is stored) is left to the type's own encode().
#include <immintrin.h>

#include <cfloat>

#include "kernels/blocks/all_blocks.h"

namespace lq::kernels {
namespace {

/// 32 consecutive values.
struct Block32 {
  __m256 v[4];
};

inline Block32 load_32(const float* x) {
  return {{_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8), _mm256_loadu_ps(x + 16),
           _mm256_loadu_ps(x + 24)}};
}

inline float most_of(__m256 v) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}
inline float least_of(__m256 v) {
  __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  m = _mm_min_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_min_ss(m, _mm_movehdup_ps(m)));
}

inline float peak_magnitude(const Block32& x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256 a = _mm256_max_ps(_mm256_andnot_ps(sign, x.v[0]), _mm256_andnot_ps(sign, x.v[1]));
  const __m256 b = _mm256_max_ps(_mm256_andnot_ps(sign, x.v[2]), _mm256_andnot_ps(sign, x.v[3]));
  return most_of(_mm256_max_ps(a, b));
}

/// The first value of this magnitude, with its sign.
inline float first_of_magnitude(const float* x, const Block32& block, float magnitude) {
  const __m256 sign = _mm256_set1_ps(-0.0f), m = _mm256_set1_ps(magnitude);
  unsigned found = 0;
  for (int i = 0; i < 4; ++i)
    found |= static_cast<unsigned>(_mm256_movemask_ps(
                 _mm256_cmp_ps(_mm256_andnot_ps(sign, block.v[i]), m, _CMP_EQ_OQ)))
             << (8 * i);
  return found != 0 ? x[__builtin_ctz(found)] : 0;
}

/// 32 integers, saturated, as bytes in their order.
inline __m256i to_bytes(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

inline void store_low_nibbles(__m256i codes, std::uint8_t* out) {
  const __m128i low = _mm_and_si128(_mm256_castsi256_si128(codes), _mm_set1_epi8(15));
  const __m128i high =
      _mm_slli_epi16(_mm_and_si128(_mm256_extracti128_si256(codes, 1), _mm_set1_epi8(15)), 4);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_or_si128(low, high));
}

inline void store_codes_32(__m256i codes, BlockQ4_0& b) { store_low_nibbles(codes, b.code); }
inline void store_codes_32(__m256i codes, BlockQ4_1& b) { store_low_nibbles(codes, b.code); }
/// Bit 4 of each code to bit 7 of its byte, and from there to one word.
inline void store_high_bits(__m256i codes, std::uint8_t* out) {
  const int bits = _mm256_movemask_epi8(_mm256_slli_epi16(codes, 3));
  memcpy(out, &bits, sizeof bits);
}
inline void store_codes_32(__m256i codes, BlockQ5_0& b) {
  store_high_bits(codes, b.high);
  store_low_nibbles(codes, b.code);
}
inline void store_codes_32(__m256i codes, BlockQ5_1& b) {
  store_high_bits(codes, b.high);
  store_low_nibbles(codes, b.code);
}

/// binary16, rounded as float_to_half does. Not for NaN.
inline std::uint16_t half_of(float x) {
  const __m128i half = _mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT);
  return static_cast<std::uint16_t>(_mm_cvtsi128_si32(half));
}

/// A scale whose inverse is finite, or no scale at all.
inline bool is_plain(float scale, float inverse) {
  return float_is_finite(scale) && float_is_finite(inverse);
}

/// The largest magnitudes of four blocks.
inline __m128 peaks_of_4(const float* x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m128 m[4];
  for (int i = 0; i < 4; ++i) {
    const Block32 block = load_32(x + 32 * i);
    const __m256 a =
        _mm256_max_ps(_mm256_andnot_ps(sign, block.v[0]), _mm256_andnot_ps(sign, block.v[1]));
    const __m256 b =
        _mm256_max_ps(_mm256_andnot_ps(sign, block.v[2]), _mm256_andnot_ps(sign, block.v[3]));
    const __m256 peak = _mm256_max_ps(a, b);
    m[i] = _mm_max_ps(_mm256_castps256_ps128(peak), _mm256_extractf128_ps(peak, 1));
  }
  _MM_TRANSPOSE4_PS(m[0], m[1], m[2], m[3]);
  return _mm_max_ps(_mm_max_ps(m[0], m[1]), _mm_max_ps(m[2], m[3]));
}

/// Ties away from zero: the largest number below 0.5 is added to the magnitude, and the sum cut.
inline void store_q8_0(const float* x, float inverse, std::uint16_t scale, BlockQ8_0& b) {
  const __m256 sign = _mm256_set1_ps(-0.0f), half = _mm256_set1_ps(0x1.fffffep-2f);
  const __m256 factor = _mm256_set1_ps(inverse);
  __m256i codes[4];
  for (int i = 0; i < 4; ++i) {
    const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), factor);
    codes[i] = _mm256_cvttps_epi32(_mm256_add_ps(v, _mm256_or_ps(_mm256_and_ps(v, sign), half)));
  }
  b.scale = scale;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(b.code),
                      to_bytes(codes[0], codes[1], codes[2], codes[3]));
}

/// Four blocks at a time: their divisions and roundings are one instruction each.
inline void encode_q8_0_avx2(const float* row, const float*, void* blocks,
                             std::size_t n_values) noexcept {
  auto* b = static_cast<BlockQ8_0*>(blocks);
  const __m128 zero = _mm_setzero_ps(), most = _mm_set1_ps(FLT_MAX);
  std::size_t at = 0;
  for (; at + 128 <= n_values; at += 128, b += 4) {
    const __m128 scale = _mm_div_ps(peaks_of_4(row + at), _mm_set1_ps(127));
    const __m128 inverse =
        _mm_and_ps(_mm_cmpneq_ps(scale, zero), _mm_div_ps(_mm_set1_ps(1), scale));
    if (_mm_movemask_ps(_mm_cmple_ps(_mm_max_ps(scale, inverse), most)) != 15) {
      for (int i = 0; i < 4; ++i) encode(row + at + 32 * i, {}, b[i]);
      continue;
    }
    alignas(16) float inverses[4];
    _mm_store_ps(inverses, inverse);
    const auto halves = static_cast<std::uint64_t>(
        _mm_cvtsi128_si64(_mm_cvtps_ph(scale, _MM_FROUND_TO_NEAREST_INT)));
    for (int i = 0; i < 4; ++i)
      store_q8_0(row + at + 32 * i, inverses[i], static_cast<std::uint16_t>(halves >> (16 * i)),
                 b[i]);
  }
  for (; at < n_values; at += 32) encode(row + at, {}, *b++);
}

/// Q4_0 (kRange 8), Q5_0 (16): no importance.
template <class Block, int kRange>
void encode_symmetric_avx2(const float* row, void* blocks, std::size_t n_values) {
  auto* b = static_cast<Block*>(blocks);
  const __m256 middle = _mm256_set1_ps(kRange + 0.5f);
  for (std::size_t at = 0; at < n_values; at += 32, ++b) {
    const Block32 x = load_32(row + at);
    const float magnitude = peak_magnitude(x);
    const float scale = first_of_magnitude(row + at, x, magnitude) / -kRange;
    const float inverse = scale != 0 ? 1 / scale : 0;
    if (magnitude == 0 || !is_plain(scale, inverse)) {
      encode(row + at, {}, *b);
      continue;
    }
    const __m256 factor = _mm256_set1_ps(inverse);
    __m256i codes[4];
    for (int i = 0; i < 4; ++i)
      codes[i] = _mm256_cvttps_epi32(_mm256_add_ps(_mm256_mul_ps(x.v[i], factor), middle));
    b->scale = half_of(scale);
    store_codes_32(_mm256_min_epi8(to_bytes(codes[0], codes[1], codes[2], codes[3]),
                                   _mm256_set1_epi8(2 * kRange - 1)),
                   *b);
  }
}

/// Q4_1 (kMax 15), Q5_1 (31): no importance.
template <class Block, int kMax>
void encode_range_avx2(const float* row, void* blocks, std::size_t n_values) {
  auto* b = static_cast<Block*>(blocks);
  for (std::size_t at = 0; at < n_values; at += 32, ++b) {
    const Block32 x = load_32(row + at);
    const float low =
        least_of(_mm256_min_ps(_mm256_min_ps(x.v[0], x.v[1]), _mm256_min_ps(x.v[2], x.v[3])));
    const float high =
        most_of(_mm256_max_ps(_mm256_max_ps(x.v[0], x.v[1]), _mm256_max_ps(x.v[2], x.v[3])));
    const float scale = (high - low) / kMax;
    const float inverse = scale != 0 ? 1 / scale : 0;
    if (low == 0 || high == 0 || !is_plain(scale, inverse)) {
      encode(row + at, {}, *b);
      continue;
    }
    const __m256 factor = _mm256_set1_ps(inverse), start = _mm256_set1_ps(low);
    __m256i codes[4];
    for (int i = 0; i < 4; ++i)
      codes[i] = _mm256_cvttps_epi32(
          _mm256_add_ps(_mm256_mul_ps(_mm256_sub_ps(x.v[i], start), factor), _mm256_set1_ps(0.5f)));
    b->scale = half_of(scale);
    b->low = half_of(low);
    __m256i bytes = to_bytes(codes[0], codes[1], codes[2], codes[3]);
    if (kMax == 15) bytes = _mm256_min_epi8(bytes, _mm256_set1_epi8(15));  // Q5_1 does not clamp
    store_codes_32(bytes, *b);
  }
}

inline void decode_f16_avx2(const void* blocks, float* out, std::size_t n_values) noexcept {
  const auto* half = static_cast<const BlockF16*>(blocks);
  std::size_t i = 0;
  for (; i + 8 <= n_values; i += 8)
    _mm256_storeu_ps(out + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + i))));
  for (; i < n_values; ++i) out[i] = half_to_float(half[i].value);
}

}  // namespace
}  // namespace lq::kernels
