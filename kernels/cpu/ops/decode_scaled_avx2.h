#pragma once
// Decoder<Block> (decode_avx2.h) of the types whose panels hold floats with scales, and of I4:
// value = what the code stands for, times the scale of its group, rounded once.
#include "kernels/cpu/ops/decode_avx2.h"
#include "kernels/cpu/ops/float_codes_avx2.h"

namespace lq::kernels {
namespace {

/// 16 bytes of nibbles, pairs of neighbours.
inline __m256i neighbours_32(const std::uint8_t* code) {
  const __m128i bytes = load_16_bytes(code), mask = _mm_set1_epi8(15);
  const __m128i low = _mm_and_si128(bytes, mask);
  const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  return _mm256_set_m128i(_mm_unpackhi_epi8(low, high), _mm_unpacklo_epi8(low, high));
}

/// Codes 32 u .. 32 u + 31 of 4 bits.
template <class Table>
inline __m256i codes_32(const BlockOfTable<Table>& b, int u) {
  const __m256i swapped = neighbours_32(b.code + 16 * u);  // the high nibble comes first there
  return _mm256_or_si256(_mm256_slli_epi16(swapped, 8), _mm256_srli_epi16(swapped, 8));
}
inline __m256i codes_32(const BlockFP4_16& b, int u) { return neighbours_32(b.code + 16 * u); }
inline __m256i codes_32(const BlockMXFP4& b, int) { return nibbles_32(b.code); }
inline __m256i codes_32(const BlockIQ4_NL& b, int) { return nibbles_32(b.code); }
inline __m256i codes_32(const BlockIQ4_XS& b, int u) { return nibbles_32(b.code + 16 * u); }
/// Groups of 16, each in 8 bytes: value j and value j + 8.
inline __m256i codes_32(const BlockNVFP4& b, int u) {
  const __m128i bytes = load_16_bytes(b.code + 16 * u), mask = _mm_set1_epi8(15);
  const __m128i low = _mm_and_si128(bytes, mask);
  const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  return _mm256_set_m128i(_mm_unpackhi_epi64(low, high), _mm_unpacklo_epi64(low, high));
}

/// What codes 32 u .. 32 u + 31 stand for.
template <class Block>
inline Values32 code_values(const Block& b, int u) {
  constexpr FloatCode kCode = Block::kFloatPanel.code;
  Values32 out;
  if constexpr (FloatLayout<Block>::kNibbles) {
    // Looking up unpacks within 16 bytes; this order makes the results consecutive.
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const FloatColumns values = look_up<Block>(_mm256_permutevar8x32_epi32(codes_32(b, u), order));
    for (int i = 0; i < 4; ++i) out.v[i] = values.v[i];
  } else if constexpr (kCode == FloatCode::e4m3) {
    for (int i = 0; i < 4; i += 2) {
      const __m256i halves =
          e4m3_halves(reinterpret_cast<const std::byte*>(b.code) + 32 * u + 8 * i);
      const __m256 unit = _mm256_set1_ps(FloatLayout<Block>::kUnit);
      out.v[i] = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), unit);
      out.v[i + 1] = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)), unit);
    }
  } else {
    for (int i = 0; i < 4; ++i)
      out.v[i] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b.code + 32 * u + 8 * i))));
  }
  return out;
}

template <class Block>
requires(Block::kFloatPanel.group > 0) struct Decoder<Block> {
  static constexpr int kStep = Block::kValues, kGroup = Block::kFloatPanel.group;
  struct Scales {
    float scale[kStep / kGroup];
  };
  static void prepare(const Block& b, Scales& s) { take_scales(b, s.scale); }
  static Values32 values(const Block* b, const Scales& s, int u) {
    Values32 out = code_values(*b, u);
    for (int i = 0; i < 4; ++i)
      out.v[i] = _mm256_mul_ps(out.v[i], _mm256_broadcast_ss(s.scale + (32 * u + 8 * i) / kGroup));
    return out;
  }
};

template <int N>
struct Decoder<BlockI4<N>> {
  static constexpr int kStep = N;
  struct Scales {
    float step, zero;
  };
  static void prepare(const BlockI4<N>& b, Scales& s) {
    s = {b.scale, static_cast<float>(128 + (b.zero & 15))};
  }
  static Values32 values(const BlockI4<N>* b, const Scales& s, int u) {
    Values32 out = plus_128(neighbours_32(b->code + 16 * u));
    for (__m256& v : out.v)
      v = _mm256_mul_ps(_mm256_sub_ps(v, _mm256_set1_ps(s.zero)), _mm256_set1_ps(s.step));
    return out;
  }
};

}  // namespace
}  // namespace lq::kernels
