#pragma once
// Columns of panels of floats to binary32 on AVX-512: what codes stand for, without the scales.
#include "kernels/cpu/ops/float_codes_avx2.h"
#include "kernels/cpu/ops/floats_avx512.h"

namespace lq::kernels {
namespace {

template <class Block>
struct FloatTable {
  alignas(64) float value[16];
  consteval FloatTable() : value{} {
    for (std::uint8_t code = 0; code < 16; ++code) value[code] = Block::code_value(code);
  }
};

/// Four columns of 16 rows out of the line of their codes: the four bytes of four rows become four
/// lanes whose lowest bits are the code, and a permutation looks these up and ignores the others.
template <class Block>
inline void look_up_columns(__m512i line, int half, __m512 (&column)[4][1]) {
  static constexpr FloatTable<Block> kTable;
  const __m512 table = _mm512_load_ps(kTable.value);
  const __m512i first = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 8, 16, 24));
  const __m512i shift = half ? _mm512_add_epi32(first, _mm512_set1_epi32(4)) : first;
  const auto of_rows = [&](__m512i codes) {
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(codes, shift), table);
  };
  column[0][0] = of_rows(_mm512_shuffle_epi32(line, _MM_PERM_AAAA));
  column[1][0] = of_rows(_mm512_shuffle_epi32(line, _MM_PERM_BBBB));
  column[2][0] = of_rows(_mm512_shuffle_epi32(line, _MM_PERM_CCCC));
  column[3][0] = of_rows(_mm512_shuffle_epi32(line, _MM_PERM_DDDD));
}

/// 16 rows of a column.
inline __m512 load_16_floats(const BlockF32* p) { return _mm512_loadu_ps(p); }
inline __m512 load_16_floats(const BlockF16* p) { return Floats16::halves(p); }
inline __m512 load_16_floats(const BlockBF16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

template <class Block>
inline void load_columns(Floats16, const std::byte* codes, int half,
                         __m512 (&column)[kColumnsAtOnce<Block>][1]) {
  constexpr FloatCode kCode = Block::kFloatPanel.code;
  if constexpr (FloatLayout<Block>::kNibbles)
    look_up_columns<Block>(_mm512_loadu_si512(codes), half, column);
  else if constexpr (kCode == FloatCode::e4m3)
    column[0][0] = _mm512_cvtph_ps(e4m3_halves(codes));
  else if constexpr (kCode == FloatCode::int8)
    column[0][0] = Floats16::bytes(reinterpret_cast<const std::int8_t*>(codes));
  else
    column[0][0] = load_16_floats(reinterpret_cast<const Block*>(codes));
}

/// E4M3 with its bits where binary32 has them: 2^-120 of the value, subnormal where the code is (at
/// full speed on Zen 4, and rare). Conversion through binary16 takes half as long again.
template <class Block>
requires(Block::kFloatPanel.code == FloatCode::e4m3) struct FloatStream<Floats16, Block> {
  static constexpr bool kIsScaled = true;
  static constexpr float kUnit = 0x1p40f;  // 2^120 / kStreamScale
  static void load(const std::byte* codes, int, __m512 (&v)[1][1]) {
    const __m512i wide =
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    const __m512i mask = _mm512_set1_epi32(static_cast<int>(0x87f00000));
    v[0][0] = _mm512_castsi512_ps(_mm512_and_si512(_mm512_slli_epi32(wide, 20), mask));
  }
  static void put_in_order(__m512 (&)[1]) {}
};

/// Two columns of BF16 are words of 32 bits with two rows each: a shift and a mask make numbers of
/// them, without crossing lanes. The lower lanes are the first column's, so that sums 0 and 1, and
/// 2 and 3, are halves of a vector.
template <int T>
struct ParallelSums<Floats16, BlockBF16, T, 4, 0> {
  __m512 even[2][T], odd[2][T];  ///< rows

  ParallelSums() {
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair)
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) even[pair][t] = odd[pair][t] = _mm512_setzero_ps();
  }
  template <class Inputs>
  void add(const std::byte* codes, const Inputs& x, int c) {
    const __m512i first = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m512i last = _mm512_set_epi32(3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2);
    __m512 values[T];
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) values[t] = _mm512_broadcast_f32x4(_mm_loadu_ps(x.at(t, c)));
#pragma GCC unroll 2
    for (int pair = 0; pair < 2; ++pair) {
      __m512i words = _mm512_loadu_si512(codes + 64 * pair);
      __asm__("" : "+v"(words));  // loaded once
      const __m512 evens = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
      const __m512 odds = _mm512_castsi512_ps(
          _mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000))));
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const __m512 value = _mm512_permutevar_ps(values[t], pair ? last : first);
        even[pair][t] = _mm512_fmadd_ps(evens, value, even[pair][t]);
        odd[pair][t] = _mm512_fmadd_ps(odds, value, odd[pair][t]);
      }
    }
  }
  void store(__m512 (&total)[T][1]) const {
    const auto both_halves = [](__m512 a, __m512 b) {
      const __m512 sum = _mm512_add_ps(a, b);
      return _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps(sum, 1));
    };
    const __m512i rows = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int t = 0; t < T; ++t)
      total[t][0] =
          _mm512_permutex2var_ps(_mm512_castps256_ps512(both_halves(even[0][t], even[1][t])), rows,
                                 _mm512_castps256_ps512(both_halves(odd[0][t], odd[1][t])));
  }
};

}  // namespace
}  // namespace lq::kernels
