#pragma once
// Cached keys and values as codes of 8 bits, made once for all query rows of a stage; with AVX-512.
//
//   key   = scale * code     of its values mixed by a Hadamard matrix, as those of queries are,
//                            which changes no product but for a factor; no value stands out
//   value = scale * code     2^(log of the scale) is part of the position's weight
//
// A block is 64 positions, with head_dim and value_dim whole 16s:
//
//   keys    int8 [8][head_dim / 4][8 positions][4]      8 positions meet a query together
//   values  int8 [16][value_dim][4 positions]           8 values of a head meet weights together
//   key_start int32 [64]: -128 * the sum of codes, key_scale float [64]
//   value_log, value_inverse float [64]: log2 of the scale, 1 / scale
#include <type_traits>

#include "kernels/cpu/ops/attention_cache.h"
#include "kernels/cpu/ops/floats_avx512.h"
#include "kernels/half.h"

namespace lq::kernels {
namespace {

/// Where the parts of a block are: `Byte` is std::byte or const.
template <class Byte>
struct ByteBlock {
  template <class T>
  using As = std::conditional_t<std::is_const_v<Byte>, const T, T>;
  static constexpr int kPositions = 64, kTogether = 8;  ///< positions; rows of a product

  As<std::int32_t>*keys, *values, *key_start;
  As<float>*key_scale, *value_log, *value_inverse;

  ByteBlock(Byte* from, int head_dim, int value_dim)
      : keys(reinterpret_cast<As<std::int32_t>*>(from)),
        values(keys + kPositions / 4 * head_dim),
        key_start(values + kPositions / 4 * value_dim),
        key_scale(reinterpret_cast<As<float>*>(key_start + kPositions)),
        value_log(key_scale + kPositions),
        value_inverse(value_log + kPositions) {}
};
using BytesOfBlock = ByteBlock<const std::byte>;
constexpr int kBytePositions = BytesOfBlock::kPositions, kByteTile = BytesOfBlock::kTogether;

constexpr int kMostByteDim = 1024;  ///< values of a key, which are mixed on the stack

/// 0: heads that are not whole vectors, or too many of them.
inline std::size_t byte_block_bytes(int head_dim, int value_dim) noexcept {
  if (head_dim % 16 != 0 || value_dim % 16 != 0 || head_dim > kMostByteDim) return 0;
  return static_cast<std::size_t>(kBytePositions) *
         static_cast<std::size_t>(head_dim + value_dim + 4 * 4);
}

/// The largest of the magnitudes' bits: those of a number that is not one, where one is not.
inline float largest_magnitude(__m512i magnitudes) {
  return bits_float(static_cast<std::uint32_t>(_mm512_reduce_max_epi32(magnitudes)));
}
inline __m512i larger_magnitude(__m512 x, __m512i magnitudes) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  return _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(x), magnitude), magnitudes);
}
inline __m512 inverse_of_unit(float peak) { return _mm512_set1_ps(peak > 0 ? 127 / peak : 0); }
/// 16 values to codes.
inline __m128i to_codes(__m512 x, __m512 inverse) {
  return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x * inverse));
}
/// 16 codes as four words.
inline void put_code_words(__m128i codes, std::ptrdiff_t stride, std::int32_t* to) {
  alignas(16) std::int32_t word[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(word), codes);
  for (int k = 0; k < 4; ++k) to[k * stride] = word[k];
}

/// The groups of values that are mixed: the largest power of two that n is a multiple of.
constexpr int mixed_values(int n) { return n & -n; }

/// One step of the transform within a vector: sums of neighbours at a distance, and differences.
template <class Swap>
inline __m512 mix_lanes(__m512 x, __mmask16 differences, const Swap& swap) {
  const __m512i sign = _mm512_maskz_set1_epi32(differences, static_cast<int>(0x80000000u));
  return swap(x) + _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), sign));
}

/// Walsh-Hadamard transform of each group, times the root of mixed_values(n).
inline void mix_values(float* x, int n) {
  for (int d = 0; d < n; d += 16) {
    __m512 v = Floats16::load(x + d);
    v = mix_lanes(v, 0xaaaa, [](__m512 y) { return _mm512_permute_ps(y, 0xb1); });
    v = mix_lanes(v, 0xcccc, [](__m512 y) { return _mm512_permute_ps(y, 0x4e); });
    v = mix_lanes(v, 0xf0f0, [](__m512 y) { return _mm512_shuffle_f32x4(y, y, 0xb1); });
    v = mix_lanes(v, 0xff00, [](__m512 y) { return _mm512_shuffle_f32x4(y, y, 0x4e); });
    Floats16::store(x + d, v);
  }
  for (int half = 16; half < mixed_values(n); half *= 2)
    for (int d = 0; d < n; d += 16) {
      if (d & half) continue;
      const __m512 a = Floats16::load(x + d), b = Floats16::load(x + d + half);
      Floats16::store(x + d, a + b);
      Floats16::store(x + d + half, a - b);
    }
}

/// Mixes n values and puts their codes, each xor `flip`, as words at a distance of `stride`. Gives
/// the scale; adds up the codes.
inline float put_mixed(float* x, int n, char flip, std::ptrdiff_t stride, std::int32_t* words,
                       std::int32_t& sum_of_codes) {
  mix_values(x, n);
  __m512i magnitudes = _mm512_setzero_si512(), sum = _mm512_setzero_si512();
  for (int d = 0; d < n; d += 16) magnitudes = larger_magnitude(Floats16::load(x + d), magnitudes);
  const float peak = largest_magnitude(magnitudes);
  const __m512 inverse = inverse_of_unit(peak);
  for (int d = 0; d < n; d += 16) {
    const __m128i codes = to_codes(Floats16::load(x + d), inverse);
    sum = _mm512_add_epi32(sum, _mm512_cvtepi8_epi32(codes));
    put_code_words(_mm_xor_si128(codes, _mm_set1_epi8(flip)), stride, words + d / 4 * stride);
  }
  sum_of_codes = _mm512_reduce_add_epi32(sum);
  return peak / 127;
}

/// Position `at` of a block.
template <class Block>
inline void put_key(const std::byte* stored, int head_dim, int at,
                    const ByteBlock<std::byte>& block) {
  alignas(64) float x[kMostByteDim];
  expand_row<Floats16, Block>(stored, head_dim, x);
  std::int32_t* const words =
      block.keys + at / kByteTile * kByteTile * (head_dim / 4) + at % kByteTile;
  std::int32_t sum;
  block.key_scale[at] = put_mixed(x, head_dim, 0, kByteTile, words, sum);
  block.key_start[at] = -128 * sum;
}

/// The least of 1, 1 1/8 .. 1 7/8 times a power of two that is not below peak / 127, and its log2.
/// What is far below 1 counts as 0.
struct ValueScale {
  float scale, log;

  explicit ValueScale(float peak) {
    constexpr float kLogs[8] = {0,
                                0.169925001f,
                                0.321928095f,
                                0.459431619f,
                                0.584962501f,
                                0.700439718f,
                                0.807354922f,
                                0.906890596f};
    constexpr float kLeast = 0x1p-40f;
    const float wanted = peak / 127 > kLeast ? peak / 127 : kLeast;
    const std::uint32_t bits = float_bits(wanted) + 0xfffffu;
    scale = bits_float(bits & ~0xfffffu);
    log = static_cast<float>(static_cast<int>(bits >> 23) - 127) + kLogs[bits >> 20 & 7];
    if (!(peak <= FLT_MAX)) log = peak - peak;  // not a number
  }
};

/// Positions [at, at + 4) of a block.
template <class Block>
inline void put_values(const std::byte* const* stored, int value_dim, int at,
                       const ByteBlock<std::byte>& block) {
  const Block* row[4];
  __m512 inverse[4];
  for (int i = 0; i < 4; ++i) {
    row[i] = reinterpret_cast<const Block*>(stored[i]);
    __m512i magnitudes = _mm512_setzero_si512();
    for (int d = 0; d < value_dim; d += 16)
      magnitudes = larger_magnitude(load_values<Floats16>(row[i], d), magnitudes);
    const ValueScale value(largest_magnitude(magnitudes));
    block.value_log[at + i] = value.log;
    block.value_inverse[at + i] = 1 / value.scale;
    inverse[i] = _mm512_set1_ps(1 / value.scale);
  }
  for (int d = 0; d < value_dim; d += 16) {
    __m512i words = _mm512_setzero_si512();
    for (int i = 0; i < 4; ++i) {
      const __m512i code =
          _mm512_cvtepu8_epi32(to_codes(load_values<Floats16>(row[i], d), inverse[i]));
      words = _mm512_or_si512(words, _mm512_slli_epi32(code, static_cast<unsigned>(8 * i)));
    }
    _mm512_storeu_si512(block.values + at / 4 * value_dim + d, words);
  }
}

/// Block `index` of a head's positions [0, a.end).
template <class Block>
void prepare_bytes(const AttentionArgs& a, int index, std::byte* to) noexcept {
  const ByteBlock<std::byte> block(to, a.head_dim, a.value_dim);
  const int first = index * kBytePositions, left = a.end - first;
  const int n = left < kBytePositions ? left : kBytePositions;
  const std::byte* rows[kBytePositions];
  find_rows(a, a.keys, a.key_page, a.key_row, first, n, rows);
  for (int j = 0; j < n; ++j) put_key<Block>(rows[j], a.head_dim, j, block);
  find_rows(a, a.values, a.value_page, a.value_row, first, n, rows);
  for (int j = n; j % 4 != 0; ++j) rows[j] = rows[n - 1];
  for (int j = 0; j < n; j += 4) put_values<Block>(rows + j, a.value_dim, j, block);
  // What no row sees has to be numbers.
  for (int j = n; j < kBytePositions; ++j) {
    block.key_start[j] = 0;
    block.key_scale[j] = block.value_log[j] = block.value_inverse[j] = 0;
  }
}

}  // namespace
}  // namespace lq::kernels
