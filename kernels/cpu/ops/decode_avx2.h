#pragma once
// Stored blocks to floats, 32 values at a time. Decoder<Block> has:
//   kStep       values that share one prepare(): a block, or 32 for types of single values
//   Scales      what prepare() makes of a block's scales
//   values(b, scales, u)   values 32 u .. 32 u + 31 of the block
// A value is code * step + low with one rounding: what decode() gives or, where that rounds twice,
// closer to the exact value.
#include <cstring>

#include "kernels/blocks/all_blocks.h"
#include "kernels/cpu/ops/vector_avx2.h"

namespace lq::kernels {
namespace {

/// 32 consecutive values.
struct Values32 {
  __m256 v[4];
};

template <class Block>
struct Decoder;

struct NoScales {};
/// value = code * step + low, for groups of 32 / kPerUnit values.
template <int kGroups>
struct Affine {
  float step[kGroups], low[kGroups];
};

inline __m256i load_32_bytes(const std::uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline __m128i load_16_bytes(const std::uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline std::uint32_t load_word(const std::uint8_t* p) {
  std::uint32_t word;
  memcpy(&word, p, sizeof word);
  return word;
}
inline float half_value(std::uint16_t half) { return _cvtsh_ss(half); }

/// 128 + code, for 32 unsigned codes below 128: the code is put below the exponent of 128, which
/// takes fewer instructions than a conversion.
inline Values32 plus_128(__m256i codes) {
  // Unpacking stays within 16 bytes; this order of the 4-byte words makes the results consecutive.
  const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
  const __m256i exponent = _mm256_set1_epi8(0x43), zero = _mm256_setzero_si256();
  codes = _mm256_permutevar8x32_epi32(codes, order);
  const __m256i low = _mm256_unpacklo_epi8(codes, exponent);
  const __m256i high = _mm256_unpackhi_epi8(codes, exponent);
  return {{_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, low)),
           _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, low)),
           _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, high)),
           _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, high))}};
}

/// code * step + low for 32 codes below 128.
inline Values32 affine(__m256i codes, float step, float low) {
  Values32 out = plus_128(codes);
  const __m256 s = _mm256_set1_ps(step), l = _mm256_set1_ps(low);
  for (__m256& v : out.v) v = _mm256_fmadd_ps(_mm256_sub_ps(v, _mm256_set1_ps(128)), s, l);
  return out;
}
/// The same with two steps, each for 16 codes.
inline Values32 affine_halves(__m256i codes, const float* step, const float* low) {
  Values32 out = plus_128(codes);
  for (int i = 0; i < 4; ++i)
    out.v[i] = _mm256_fmadd_ps(_mm256_sub_ps(out.v[i], _mm256_set1_ps(128)),
                               _mm256_broadcast_ss(step + i / 2), _mm256_broadcast_ss(low + i / 2));
  return out;
}
/// (code - offset) * step. (128 + offset) * step has to be exact, as it is for steps of at most 18
/// significant bits.
inline Values32 centred(__m256i codes, float step, float offset) {
  Values32 out = plus_128(codes);
  const __m256 s = _mm256_set1_ps(step), l = _mm256_set1_ps(-(128 + offset) * step);
  for (__m256& v : out.v) v = _mm256_fmadd_ps(v, s, l);
  return out;
}
inline Values32 centred_halves(__m256i codes, const float* step, const float* low) {
  Values32 out = plus_128(codes);
  for (int i = 0; i < 4; ++i)
    out.v[i] = _mm256_fmadd_ps(out.v[i], _mm256_broadcast_ss(step + i / 2),
                               _mm256_broadcast_ss(low + i / 2));
  return out;
}

/// 16 bytes of nibbles, low ones first.
inline __m256i nibbles_32(const std::uint8_t* code) {
  const __m128i bytes = load_16_bytes(code);
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes), _mm256_set1_epi8(15));
}
/// Byte i is 16 where bit i of the 4 bytes is set.
inline __m256i fifth_bits_32(const std::uint8_t* high) {
  const __m256i word = _mm256_set1_epi32(static_cast<int>(load_word(high)));
  const __m256i byte_of =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i bits = _mm256_and_si256(_mm256_shuffle_epi8(word, byte_of), bit_of);
  return _mm256_and_si256(_mm256_cmpeq_epi8(bits, bit_of), _mm256_set1_epi8(16));
}

template <>
struct Decoder<BlockF32> {
  static constexpr int kStep = 32;
  using Scales = NoScales;
  static void prepare(const BlockF32&, Scales&) {}
  static __m256 load(const BlockF32* b) {
    return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
  }
  static Values32 values(const BlockF32* b, const Scales&, int) {
    return {{load(b), load(b + 8), load(b + 16), load(b + 24)}};
  }
};

template <>
struct Decoder<BlockF16> {
  static constexpr int kStep = 32;
  using Scales = NoScales;
  static void prepare(const BlockF16&, Scales&) {}
  static Values32 values(const BlockF16* b, const Scales&, int) {
    return {{load_halves(b), load_halves(b + 8), load_halves(b + 16), load_halves(b + 24)}};
  }
};

template <>
struct Decoder<BlockBF16> {
  static constexpr int kStep = 32;
  using Scales = NoScales;
  static void prepare(const BlockBF16&, Scales&) {}
  static __m256 load(const BlockBF16* b) {
    const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(upper), 16));
  }
  static Values32 values(const BlockBF16* b, const Scales&, int) {
    return {{load(b), load(b + 8), load(b + 16), load(b + 24)}};
  }
};

template <>
struct Decoder<BlockQ8_0> {
  static constexpr int kStep = 32;
  using Scales = float;
  static void prepare(const BlockQ8_0& b, Scales& s) { s = half_value(b.scale); }
  static Values32 values(const BlockQ8_0* b, const Scales& s, int) {
    const __m256 scale = _mm256_set1_ps(s);
    Values32 out;
    for (int i = 0; i < 4; ++i) {
      const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b->code + 8 * i));
      out.v[i] = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), scale);
    }
    return out;
  }
};

template <>
struct Decoder<BlockQ4_0> {
  static constexpr int kStep = 32;
  using Scales = float;
  static void prepare(const BlockQ4_0& b, Scales& s) { s = half_value(b.scale); }
  static Values32 values(const BlockQ4_0* b, const Scales& s, int) {
    return centred(nibbles_32(b->code), s, 8);
  }
};

template <>
struct Decoder<BlockQ4_1> {
  static constexpr int kStep = 32;
  using Scales = Affine<1>;
  static void prepare(const BlockQ4_1& b, Scales& s) {
    s = {{half_value(b.scale)}, {half_value(b.low)}};
  }
  static Values32 values(const BlockQ4_1* b, const Scales& s, int) {
    return affine(nibbles_32(b->code), s.step[0], s.low[0]);
  }
};

template <>
struct Decoder<BlockQ5_0> {
  static constexpr int kStep = 32;
  using Scales = float;
  static void prepare(const BlockQ5_0& b, Scales& s) { s = half_value(b.scale); }
  static Values32 values(const BlockQ5_0* b, const Scales& s, int) {
    return centred(_mm256_or_si256(nibbles_32(b->code), fifth_bits_32(b->high)), s, 16);
  }
};

template <>
struct Decoder<BlockQ5_1> {
  static constexpr int kStep = 32;
  using Scales = Affine<1>;
  static void prepare(const BlockQ5_1& b, Scales& s) {
    s = {{half_value(b.scale)}, {half_value(b.low)}};
  }
  static Values32 values(const BlockQ5_1* b, const Scales& s, int) {
    return affine(_mm256_or_si256(nibbles_32(b->code), fifth_bits_32(b->high)), s.step[0],
                  s.low[0]);
  }
};

/// 32 codes of the two-bit planes (two_bits.h).
inline __m256i two_bits_32(const std::uint8_t* code, int u) {
  const __m256i bytes = load_32_bytes(code + 32 * (u / 4));
  return _mm256_and_si256(_mm256_srl_epi16(bytes, _mm_cvtsi32_si128(2 * (u % 4))),
                          _mm256_set1_epi8(3));
}

/// 16 signed factors times a common scale.
inline void multiply_16(__m128i factors, float scale, float* out) {
  const __m256 s = _mm256_set1_ps(scale);
  const __m256i low = _mm256_cvtepi8_epi32(factors);
  const __m256i high = _mm256_cvtepi8_epi32(_mm_srli_si128(factors, 8));
  _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_cvtepi32_ps(low), s));
  _mm256_storeu_ps(out + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(high), s));
}
/// low[i] = -(128 + offset) * step[i], for centred_halves().
inline void offset_16(Affine<16>& s, float offset) {
  for (int i = 0; i < 16; i += 8)
    _mm256_storeu_ps(s.low + i,
                     _mm256_mul_ps(_mm256_loadu_ps(s.step + i), _mm256_set1_ps(-(128 + offset))));
}

template <>
struct Decoder<BlockQ2_K> {
  static constexpr int kStep = 256;
  using Scales = Affine<16>;
  static void prepare(const BlockQ2_K& b, Scales& s) {
    const __m128i pairs = load_16_bytes(b.scale_min), nibble = _mm_set1_epi8(15);
    multiply_16(_mm_and_si128(pairs, nibble), half_value(b.scale), s.step);
    multiply_16(_mm_and_si128(_mm_srli_epi16(pairs, 4), nibble), -half_value(b.min), s.low);
  }
  static Values32 values(const BlockQ2_K* b, const Scales& s, int u) {
    return affine_halves(two_bits_32(b->code, u), s.step + 2 * u, s.low + 2 * u);
  }
};

template <>
struct Decoder<BlockQ3_K> {
  static constexpr int kStep = 256;
  using Scales = Affine<16>;
  static void prepare(const BlockQ3_K& b, Scales& s) {
    const std::uint32_t a = load_word(b.group_scale), c = load_word(b.group_scale + 4),
                        high = load_word(b.group_scale + 8);
    const auto word = [high](std::uint32_t low, int t) {  // groups 4 t .. 4 t + 3
      return static_cast<int>((low & 0x0f0f0f0f) | ((high >> (2 * t)) & 0x03030303) << 4);
    };
    const __m128i scales = _mm_setr_epi32(word(a, 0), word(c, 1), word(a >> 4, 2), word(c >> 4, 3));
    multiply_16(_mm_sub_epi8(scales, _mm_set1_epi8(32)), half_value(b.scale), s.step);
    offset_16(s, 4);
  }
  static Values32 values(const BlockQ3_K* b, const Scales& s, int u) {
    const __m256i high = _mm256_srl_epi16(load_32_bytes(b->high), _mm_cvtsi32_si128(u));
    const __m256i third = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(1)), 2);
    return centred_halves(_mm256_or_si256(two_bits_32(b->code, u), third), s.step + 2 * u,
                          s.low + 2 * u);
  }
};

inline void prepare_groups(const AffineGroups& g, Affine<8>& s) {
  constexpr std::uint32_t kSix = 0x3f3f3f3f, kFour = 0x0f0f0f0f, kTwo = 0x03030303;
  const std::uint32_t a = load_word(g.packed), b = load_word(g.packed + 4),
                      c = load_word(g.packed + 8);
  const __m128i codes = _mm_setr_epi32(
      static_cast<int>(a & kSix), static_cast<int>((c & kFour) | ((a >> 6) & kTwo) << 4),
      static_cast<int>(b & kSix), static_cast<int>(((c >> 4) & kFour) | ((b >> 6) & kTwo) << 4));
  const __m256 scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes));
  const __m256 mins = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8)));
  _mm256_storeu_ps(s.step, _mm256_mul_ps(scales, _mm256_set1_ps(half_value(g.scale))));
  _mm256_storeu_ps(s.low, _mm256_mul_ps(mins, _mm256_set1_ps(-half_value(g.min))));
}
/// Group u's low 4 bits.
inline __m256i group_nibbles(const std::uint8_t* code, int u) {
  const __m256i bytes = load_32_bytes(code + 32 * (u / 2));
  return _mm256_and_si256(_mm256_srl_epi16(bytes, _mm_cvtsi32_si128(4 * (u % 2))),
                          _mm256_set1_epi8(15));
}

template <>
struct Decoder<BlockQ4_K> {
  static constexpr int kStep = 256;
  using Scales = Affine<8>;
  static void prepare(const BlockQ4_K& b, Scales& s) { prepare_groups(b.groups, s); }
  static Values32 values(const BlockQ4_K* b, const Scales& s, int u) {
    return affine(group_nibbles(b->code, u), s.step[u], s.low[u]);
  }
};

template <>
struct Decoder<BlockQ5_K> {
  static constexpr int kStep = 256;
  using Scales = Affine<8>;
  static void prepare(const BlockQ5_K& b, Scales& s) { prepare_groups(b.groups, s); }
  static Values32 values(const BlockQ5_K* b, const Scales& s, int u) {
    const __m256i high = _mm256_srl_epi16(load_32_bytes(b->high), _mm_cvtsi32_si128(u));
    const __m256i fifth = _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(1)), 4);
    return affine(_mm256_or_si256(group_nibbles(b->code, u), fifth), s.step[u], s.low[u]);
  }
};

template <>
struct Decoder<BlockQ6_K> {
  static constexpr int kStep = 256;
  using Scales = Affine<16>;
  static void prepare(const BlockQ6_K& b, Scales& s) {
    __m128i factors;
    memcpy(&factors, b.group_scale, sizeof factors);
    multiply_16(factors, half_value(b.scale), s.step);
    offset_16(s, 32);
  }
  static Values32 values(const BlockQ6_K* b, const Scales& s, int u) {
    const int c = u / 4, t = u % 4;  // as in code_of()
    const __m256i low = _mm256_srl_epi16(load_32_bytes(b->low + 64 * c + 32 * (t % 2)),
                                         _mm_cvtsi32_si128(4 * (t / 2)));
    const __m256i high =
        _mm256_srl_epi16(load_32_bytes(b->high + 32 * c), _mm_cvtsi32_si128(2 * t));
    const __m256i codes =
        _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)),
                        _mm256_slli_epi16(_mm256_and_si256(high, _mm256_set1_epi8(3)), 4));
    return centred_halves(codes, s.step + 2 * u, s.low + 2 * u);
  }
};

}  // namespace
}  // namespace lq::kernels
