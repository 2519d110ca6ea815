#pragma once
// Weights of Hugging Face checkpoints, 8 values at a time: the bytes of group_functions.h, whose
// operations are done one by one in its order. What is no whole vector is left to it.
#include "kernels/cpu/ops/vector_avx2.h"
#include "kernels/groups/group_functions.h"

namespace lq::kernels {
namespace {

/// Rounds 8 results as Round::round does one.
template <class Round>
inline __m256 rounded(__m256 x) {
  return x;
}
template <>
inline __m256 rounded<RoundToF16>(__m256 x) {
  return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
template <>
inline __m256 rounded<RoundToBF16>(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  return _mm256_castsi256_ps(_mm256_and_si256(sum, _mm256_set1_epi32(-0x10000)));
}

inline __m256 within(__m256 x, __m256 low, __m256 high) {
  return _mm256_min_ps(_mm256_max_ps(x, low), high);
}

/// The low bytes of 32 integers of [-128, 127], in their order.
inline __m256i signed_bytes(const __m256i v[4]) {
  const __m256i bytes =
      _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
/// The same of [0, 255].
inline __m256i unsigned_bytes(const __m256i v[4]) {
  const __m256i bytes =
      _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
/// 32 codes of 4 bits, two a byte, the first one low.
inline __m128i nibble_pairs(__m256i codes) {
  const __m256i pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x1001));
  const __m256i bytes = _mm256_packus_epi16(pairs, pairs);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(bytes, 0x08));
}

inline void store_32(void* at, __m256i bytes) {
  _mm256_storeu_si256(static_cast<__m256i*>(at), bytes);
}
inline void store_16(void* at, __m128i bytes) {
  _mm_storeu_si128(static_cast<__m128i*>(at), bytes);
}

/// Codes of values under one scale.
template <class Round>
inline void codes_avx2(const float* x, std::size_t n, float scale, float zero, float low,
                       float high, std::int8_t* codes) {
  const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero);
  const __m256 l = _mm256_set1_ps(low), h = _mm256_set1_ps(high);
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256i code[4];
    for (std::size_t j = 0; j < 4; ++j) {
      __m256 v = rounded<Round>(_mm256_div_ps(_mm256_loadu_ps(x + i + 8 * j), s));
      v = rounded<Round>(_mm256_add_ps(v, z));
      code[j] = _mm256_cvtps_epi32(within(v, l, h));
    }
    store_32(codes + i, signed_bytes(code));
  }
  for (; i < n; ++i) {
    const float code = Round::round(Round::round(x[i] / scale) + zero);
    codes[i] = static_cast<std::int8_t>(round_even_float(clamp_to(code, low, high)));
  }
}

inline float largest_lane(__m256 v) {
  __m128 top = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  top = _mm_max_ps(top, _mm_movehl_ps(top, top));
  return _mm_cvtss_f32(_mm_max_ss(top, _mm_movehdup_ps(top)));
}

/// The range of values; when symmetric that of their magnitudes.
inline ValueRange range_avx2(const float* x, std::size_t n, bool symmetric) noexcept {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 high[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()}, low[2] = {high[0], high[0]};
  std::size_t i = 0;
  if (symmetric)
    for (; i + 16 <= n; i += 16)
      for (std::size_t j = 0; j < 2; ++j)
        high[j] = _mm256_max_ps(high[j], _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i + 8 * j)));
  else
    for (; i + 16 <= n; i += 16)
      for (std::size_t j = 0; j < 2; ++j) {
        const __m256 v = _mm256_loadu_ps(x + i + 8 * j);
        high[j] = _mm256_max_ps(high[j], v);
        low[j] = _mm256_max_ps(low[j], _mm256_xor_ps(sign, v));
      }
  const ValueRange rest = range_of(x + i, n - i);
  const float top = largest_lane(_mm256_max_ps(high[0], high[1]));
  const float bottom = symmetric ? top : largest_lane(_mm256_max_ps(low[0], low[1]));
  return {-bottom < rest.low ? -bottom : rest.low, top > rest.high ? top : rest.high};
}

template <class Round>
void integers_avx2(const float* row, std::size_t n, std::size_t group, const IntegerGrid& grid,
                   float* scales, std::int8_t* zeros, std::int8_t* codes) noexcept {
  const float low = lowest_code(grid), high = highest_code(grid);
  for (std::size_t at = 0; at < n; at += group) {
    const GroupScale found =
        scale_of_group<Round>(range_avx2(row + at, group, grid.symmetric), grid);
    scales[at / group] = found.scale;
    if (!grid.symmetric) zeros[at / group] = static_cast<std::int8_t>(found.zero);
    codes_avx2<Round>(row + at, group, found.scale, found.zero, low, high, codes + at);
  }
}

inline void fit_codes_avx2(const float* x, std::size_t n, const GroupFit& fit,
                           std::int8_t* codes) noexcept {
  codes_avx2<RoundToF32>(x, n, fit.scale, fit.zero, fit.low, fit.high, codes);
}

/// A float with few bits, from its exponent bias on: numbers from `normal` on are shifted into
/// place and rounded there, smaller ones are multiples of 1 / steps.
struct SmallFloat {
  int shift;       ///< bits of the mantissa that go
  int bias;        ///< of exponents, less binary32's
  float normal;    ///< the smallest normal number
  float steps;     ///< a subnormal number times this is an integer
  int sign_shift;  ///< of the sign's bit
};
constexpr SmallFloat kE4M3 = {20, 120, 0x1p-6f, 512, 24};
constexpr SmallFloat kE5M2 = {21, 112, 0x1p-14f, 65536, 24};
constexpr SmallFloat kE2M1 = {22, 126, 1, 2, 28};

/// Codes of numbers within the type's range: float_to_e4m3(), float_to_e5m2(), float_to_fp4().
template <const SmallFloat& type>
inline __m256i small_float(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
  const __m256i odd =
      _mm256_and_si256(_mm256_srli_epi32(magnitude, type.shift), _mm256_set1_epi32(1));
  const __m256i half =
      _mm256_set1_epi32((1 << (type.shift - 1)) - 1 - static_cast<int>(type.bias << 23));
  const __m256i normal =
      _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(magnitude, half), odd), type.shift);
  const __m256 value = _mm256_castsi256_ps(magnitude);
  const __m256i small = _mm256_cvtps_epi32(_mm256_mul_ps(value, _mm256_set1_ps(type.steps)));
  const __m256 is_small = _mm256_cmp_ps(value, _mm256_set1_ps(type.normal), _CMP_LT_OQ);
  const __m256i code = _mm256_castps_si256(
      _mm256_blendv_ps(_mm256_castsi256_ps(normal), _mm256_castsi256_ps(small), is_small));
  const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(bits, type.sign_shift),
                                        _mm256_set1_epi32(1 << (31 - type.sign_shift)));
  return _mm256_or_si256(code, sign);
}

/// 8-bit codes of whole vectors under one scale; returns how many.
template <class Round, const SmallFloat& type>
inline std::size_t float8_avx2(const float* row, std::size_t n, float scale, float largest,
                               std::uint8_t* codes) {
  const __m256 s = _mm256_set1_ps(scale), most = _mm256_set1_ps(largest);
  const __m256 least = _mm256_set1_ps(-largest);
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    __m256i code[4];
    for (std::size_t j = 0; j < 4; ++j) {
      const __m256 v = rounded<Round>(_mm256_div_ps(_mm256_loadu_ps(row + i + 8 * j), s));
      code[j] = small_float<type>(within(v, least, most));
    }
    store_32(codes + i, unsigned_bytes(code));
  }
  return i;
}

template <class Round>
void e4m3_avx2(const float* row, std::size_t n, float scale, std::uint8_t* codes) noexcept {
  const std::size_t i = float8_avx2<Round, kE4M3>(row, n, scale, kMostE4M3, codes);
  e4m3<Round>(row + i, n - i, scale, codes + i);
}

template <class Round>
void e5m2_avx2(const float* row, std::size_t n, float scale, std::uint8_t* codes) noexcept {
  const std::size_t i = float8_avx2<Round, kE5M2>(row, n, scale, kMostE5M2, codes);
  e5m2<Round>(row + i, n - i, scale, codes + i);
}

/// E2M1 codes of 32 values, each 8 under a scale.
template <class Round>
inline void fp4_of_32(const float* x, const __m256 scale[4], std::uint8_t* packed) {
  const __m256 most = _mm256_set1_ps(kMostFp4), least = _mm256_set1_ps(-kMostFp4);
  __m256i code[4];
  for (std::size_t j = 0; j < 4; ++j) {
    const __m256 v = rounded<Round>(_mm256_div_ps(_mm256_loadu_ps(x + 8 * j), scale[j]));
    code[j] = small_float<kE2M1>(within(v, least, most));
  }
  store_16(packed, nibble_pairs(unsigned_bytes(code)));
}

inline __m256 magnitudes(const float* x) {
  return _mm256_and_ps(_mm256_loadu_ps(x), _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
}

/// The largest of each of 8 vectors.
inline __m256 largest_of_each(const __m256 v[8]) {
  __m256 pair[4], four[2];
  for (int i = 0; i < 4; ++i)
    pair[i] = _mm256_max_ps(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                            _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  for (int i = 0; i < 2; ++i) {
    const __m256d a = _mm256_castps_pd(pair[2 * i]), b = _mm256_castps_pd(pair[2 * i + 1]);
    four[i] = _mm256_max_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)),
                            _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
  }
  return _mm256_max_ps(_mm256_permute2f128_ps(four[0], four[1], 0x20),
                       _mm256_permute2f128_ps(four[0], four[1], 0x31));
}

/// e4m3_to_float() of codes from 1 to 0x7e.
inline __m256 e4m3_values(__m256i code) {
  const __m256i normal =
      _mm256_add_epi32(_mm256_slli_epi32(code, 20), _mm256_set1_epi32(120 << 23));
  const __m256 small = _mm256_mul_ps(_mm256_cvtepi32_ps(code), _mm256_set1_ps(0x1p-9f));
  const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), code);
  return _mm256_blendv_ps(_mm256_castsi256_ps(normal), small, _mm256_castsi256_ps(is_small));
}

template <class Round>
void nvfp4_avx2(const float* row, std::size_t n, float factor, std::uint8_t* scales,
                std::uint8_t* packed) noexcept {
  const __m256 by = _mm256_set1_ps(factor);
  std::size_t at = 0;
  for (; at + 128 <= n; at += 128) {  // 8 groups
    __m256 top[8];
    for (std::size_t g = 0; g < 8; ++g)
      top[g] = _mm256_max_ps(magnitudes(row + at + 16 * g), magnitudes(row + at + 16 * g + 8));
    const __m256 sixth = _mm256_div_ps(largest_of_each(top), _mm256_set1_ps(kMostFp4));
    const __m256 wanted = _mm256_mul_ps(rounded<Round>(sixth), by);
    __m256i code =
        small_float<kE4M3>(within(wanted, _mm256_set1_ps(-kMostE4M3), _mm256_set1_ps(kMostE4M3)));
    const __m256i none = _mm256_cmpeq_epi32(code, _mm256_setzero_si256());
    code = _mm256_blendv_epi8(code, _mm256_set1_epi32(float_to_e4m3(0.125f)), none);
    float scale[8];
    _mm256_storeu_ps(scale, _mm256_div_ps(e4m3_values(code), by));
    std::int32_t codes[8];
    store_32(codes, code);
    for (std::size_t g = 0; g < 8; ++g) scales[at / 16 + g] = static_cast<std::uint8_t>(codes[g]);
    for (std::size_t g = 0; g < 8; g += 2) {
      const __m256 one = _mm256_set1_ps(scale[g]), two = _mm256_set1_ps(scale[g + 1]);
      const __m256 s[4] = {one, one, two, two};
      fp4_of_32<RoundToF32>(row + at + 16 * g, s, packed + at / 2 + 8 * g);
    }
  }
  nvfp4<Round>(row + at, n - at, factor, scales + at / 16, packed + at / 2);
}

template <class Round>
void mxfp4_avx2(const float* row, std::size_t n, std::uint8_t* scales,
                std::uint8_t* packed) noexcept {
  for (std::size_t at = 0; at < n; at += 32) {
    scales[at / 32] = shared_exponent(row + at, 2);
    const __m256 scale = _mm256_set1_ps(power_of(scales[at / 32]));
    const __m256 s[4] = {scale, scale, scale, scale};
    fp4_of_32<Round>(row + at, s, packed + at / 2);
  }
}

template <class Round>
void mxfp8_avx2(const float* row, std::size_t n, std::uint8_t* scales,
                std::uint8_t* codes) noexcept {
  for (std::size_t at = 0; at < n; at += 32) {
    scales[at / 32] = shared_exponent(row + at, 8);
    e4m3_avx2<Round>(row + at, 32, power_of(scales[at / 32]), codes + at);
  }
}

inline float eight_bit_avx2(const float* row, std::size_t n, std::int8_t* codes) noexcept {
  __m256 top = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 magnitude = rounded<RoundToF16>(magnitudes(row + i));
    top = _mm256_max_ps(magnitude, top);
  }
  float lanes[8];
  _mm256_storeu_ps(lanes, top);
  float largest = 0;
  for (const float lane : lanes) largest = lane > largest ? lane : largest;
  for (; i < n; ++i) {
    const float a = fabsf(RoundToF16::round(row[i]));
    largest = a > largest ? a : largest;
  }
  const float factor = largest > 0 && float_is_finite(largest) ? 1 / largest * 127 : 0;
  const __m256 by = _mm256_set1_ps(factor), most = _mm256_set1_ps(127);
  const __m256 least = _mm256_set1_ps(-127);
  for (i = 0; i + 32 <= n; i += 32) {
    __m256i code[4];
    for (std::size_t j = 0; j < 4; ++j) {
      const __m256 v = rounded<RoundToF16>(_mm256_loadu_ps(row + i + 8 * j));
      code[j] = _mm256_cvtps_epi32(within(_mm256_mul_ps(v, by), least, most));
    }
    store_32(codes + i, signed_bytes(code));
  }
  for (; i < n; ++i)
    codes[i] = static_cast<std::int8_t>(
        round_even_float(clamp_magnitude(RoundToF16::round(row[i]) * factor, 127)));
  return largest;
}

inline __m256i load_codes(const std::int8_t* codes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
}

inline void pack_avx2(const std::int8_t* codes, std::size_t n, int bits, void* words) noexcept {
  auto* out = static_cast<std::uint8_t*>(words);
  std::size_t i = 0;
  if (bits == 4)
    for (; i + 32 <= n; i += 32, out += 16)
      store_16(out, nibble_pairs(_mm256_add_epi8(load_codes(codes + i), _mm256_set1_epi8(8))));
  if (bits == 8)
    for (; i + 32 <= n; i += 32, out += 32)
      store_32(out, _mm256_xor_si256(load_codes(codes + i), _mm256_set1_epi8(-128)));
  pack_codes(codes + i, n - i, 1, bits, out);
}

inline void unpack_avx2(const void* words, std::size_t n, int bits, std::int8_t* codes) noexcept {
  auto* in = static_cast<const std::uint8_t*>(words);
  std::size_t i = 0;
  if (bits == 4)
    for (; i + 32 <= n; i += 32, in += 16) {
      const __m256i both =
          _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in)));
      const __m256i high = _mm256_slli_epi16(both, 4);  // its low byte is not looked at
      const __m256i pairs =
          _mm256_and_si256(_mm256_or_si256(both, high), _mm256_set1_epi16(0x0f0f));
      store_32(codes + i, _mm256_sub_epi8(pairs, _mm256_set1_epi8(8)));
    }
  if (bits == 8)
    for (; i + 32 <= n; i += 32, in += 32)
      store_32(codes + i, _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in)),
                                           _mm256_set1_epi8(-128)));
  unpack_codes(in, n - i, 1, bits, codes + i);
}

template <class Round>
consteval GroupKernels group_kernels_avx2() {
  GroupKernels table = kGroupKernels<Round>;
  table.integers = integers_avx2<Round>;
  table.codes = fit_codes_avx2;
  table.e4m3 = e4m3_avx2<Round>;
  table.e5m2 = e5m2_avx2<Round>;
  table.nvfp4 = nvfp4_avx2<Round>;
  table.mxfp4 = mxfp4_avx2<Round>;
  table.mxfp8 = mxfp8_avx2<Round>;
  table.eight_bit = eight_bit_avx2;
  table.pack = pack_avx2;
  table.unpack = unpack_avx2;
  return table;
}
template <class Round>
struct GroupKernelsAvx2 {
  static constexpr GroupKernels kTable = group_kernels_avx2<Round>();
};

}  // namespace
}  // namespace lq::kernels
