#pragma once
// Columns of panels of floats to binary32 on AVX2: what codes stand for, without the scales.
#include "kernels/cpu/ops/float_columns.h"
#include "kernels/cpu/ops/floats_avx2.h"

namespace lq::kernels {
namespace {

/// Byte i of the values of 16 codes.
template <class Block>
struct TablePlanes {
  alignas(16) std::uint8_t plane[4][16];
  consteval TablePlanes() : plane{} {
    for (std::uint8_t code = 0; code < 16; ++code)
      for (int i = 0; i < 4; ++i)
        plane[i][code] = static_cast<std::uint8_t>(
            __builtin_bit_cast(std::uint32_t, Block::code_value(code)) >> (8 * i));
  }
};

/// Four columns of 8 rows.
struct FloatColumns {
  __m256 v[4];
};

inline FloatColumns unpack_pairs(__m256i even_low, __m256i odd_low, __m256i even_high,
                                 __m256i odd_high) {
  return {{_mm256_castsi256_ps(_mm256_unpacklo_epi16(even_low, odd_low)),
           _mm256_castsi256_ps(_mm256_unpackhi_epi16(even_low, odd_low)),
           _mm256_castsi256_ps(_mm256_unpacklo_epi16(even_high, odd_high)),
           _mm256_castsi256_ps(_mm256_unpackhi_epi16(even_high, odd_high))}};
}

/// The values of 32 codes of 4 bits, a byte each: float_panels.h says which columns and rows.
template <class Block>
inline FloatColumns look_up(__m256i code) {
  static constexpr TablePlanes<Block> kPlanes;
  const auto byte_of_values = [code](int i) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(
                                   reinterpret_cast<const __m128i*>(kPlanes.plane[i]))),
                               code);
  };
  const __m256i c = byte_of_values(2), d = byte_of_values(3);
  const __m256i low = _mm256_unpacklo_epi8(c, d), high = _mm256_unpackhi_epi8(c, d);
  if constexpr (Block::kFloatPanel.code == FloatCode::table16) {
    const __m256i zero = _mm256_setzero_si256();
    return unpack_pairs(zero, low, zero, high);
  } else {
    const __m256i a = byte_of_values(0), b = byte_of_values(1);
    return unpack_pairs(_mm256_unpacklo_epi8(a, b), low, _mm256_unpackhi_epi8(a, b), high);
  }
}

/// 8 rows of a column.
inline __m256 load_floats(const BlockF32* p) {
  return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline __m256 load_floats(const BlockF16* p) { return load_halves(p); }
inline __m256 load_floats(const BlockBF16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/// 16 rows of a column of E4M3 as binary16: the sign, then exponent and mantissa at the places of
/// the lower bits of the larger exponent and the upper bits of the longer mantissa.
inline __m256i e4m3_halves(const std::byte* p) {
  const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(-0x4080));
}

template <class Block>
inline void load_columns(Floats8, const std::byte* codes, int half,
                         __m256 (&column)[kColumnsAtOnce<Block>][2]) {
  constexpr FloatCode kCode = Block::kFloatPanel.code;
  if constexpr (FloatLayout<Block>::kNibbles) {
    const __m256i mask = _mm256_set1_epi8(15);
    for (int part = 0; part < 2; ++part) {
      const __m256i line = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + 32 * part));
      const FloatColumns four =
          look_up<Block>(_mm256_and_si256(half ? _mm256_srli_epi16(line, 4) : line, mask));
      for (int i = 0; i < 4; ++i) column[i][part] = four.v[i];
    }
  } else if constexpr (kCode == FloatCode::e4m3) {
    const __m256i halves = e4m3_halves(codes);
    column[0][0] = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
    column[0][1] = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
  } else if constexpr (kCode == FloatCode::int8) {
    for (int part = 0; part < 2; ++part)
      column[0][part] = Floats8::bytes(reinterpret_cast<const std::int8_t*>(codes) + 8 * part);
  } else {
    const auto* const values = reinterpret_cast<const Block*>(codes);
    for (int part = 0; part < 2; ++part) column[0][part] = load_floats(values + 8 * part);
  }
}

/// A column of BF16 is words of 32 bits with two rows each: even rows are a part, odd rows the
/// other.
template <>
struct FloatStream<Floats8, BlockBF16> {
  static constexpr bool kIsScaled = false;
  static constexpr float kUnit = 1;
  static void load(const std::byte* codes, int, __m256 (&v)[1][2]) {
    __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
    __asm__("" : "+x"(words));  // loaded once
    v[0][0] = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
    v[0][1] = _mm256_castsi256_ps(
        _mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  }
  static void put_in_order(__m256 (&v)[2]) {
    const __m256 low = _mm256_unpacklo_ps(v[0], v[1]), high = _mm256_unpackhi_ps(v[0], v[1]);
    v[0] = _mm256_permute2f128_ps(low, high, 0x20);
    v[1] = _mm256_permute2f128_ps(low, high, 0x31);
  }
};

}  // namespace
}  // namespace lq::kernels
