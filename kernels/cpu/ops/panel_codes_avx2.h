#pragma once
// Tiles of panels for AVX2: codes as bytes, scales as pairs of 16-bit numbers, eight rows a vector.
#include <immintrin.h>

#include "kernels/panels/activations.h"
#include "kernels/panels/layout.h"

namespace lq::kernels {
namespace {

inline __m256i load_unit(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

/// Bits [from, from + count) of every byte of v, moved up by `to` bits; `from`, `to` are constants.
template <int kCount, int kTo>
inline __m256i bits_of_bytes(__m256i v, int from) {
  const __m256i mask = _mm256_set1_epi8(static_cast<char>(((1 << kCount) - 1) << kTo));
  if (from > kTo) v = _mm256_srli_epi16(v, from - kTo);
  if (from < kTo) v = _mm256_slli_epi16(v, kTo - from);
  return _mm256_and_si256(v, mask);
}

/// The codes of 256 columns as they are stored.
template <PanelForm F>
struct PackedCodes {
  const std::byte* tiles;

  /// Unit k of a run, rows 8 half .. 8 half + 7.
  __m256i unit(int run, int k, int half) const {
    using Layout = PanelLayout<F>;
    constexpr int kPer = 8 / F.low_bits;
    const std::byte* const lines = Layout::run_lines(tiles, run) + 32 * half;
    __m256i high = _mm256_setzero_si256();
    if constexpr (F.high_bits > 0) {
      constexpr int kHighPer = 8 / F.high_bits;
      const __m256i line = load_unit(lines + Layout::high_line(k / kHighPer));
      high = bits_of_bytes<F.high_bits, F.low_bits>(line, F.high_bits * (k % kHighPer));
    }
    const __m256i line = load_unit(lines + Layout::low_line(k / kPer));
    if constexpr (F.low_bits == 8) return line;
    const __m256i code = bits_of_bytes<F.low_bits, 0>(line, F.low_bits * (k % kPer));
    return F.high_bits > 0 ? _mm256_or_si256(code, high) : code;
  }
};

/// Codes that were taken out of a tile for many tokens.
struct UnpackedCodes {
  const std::uint8_t* code;  ///< [units][64]
  __m256i unit(int run, int k, int half) const {
    return load_unit(code + kUnitBytes * (run * kRunUnits + k) + 32 * half);
  }
};

template <PanelForm F>
inline void unpack_bytes(const std::byte* tiles, int run, std::uint8_t* code) {
  const PackedCodes<F> packed{tiles};
#pragma GCC unroll 8
  for (int k = 0; k < kRunUnits; ++k, code += kUnitBytes)
    for (int half = 0; half < 2; ++half)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(code + 32 * half), packed.unit(run, k, half));
}

/// Scales of a nested tile.
struct NestedScales {
  /// Each twice, for the two sums of neighbouring products of a row.
  alignas(32) std::int16_t scale[16][2][16];  ///< [groups][half][8 rows x 2]
  /// Of two neighbouring groups: minimums, or scales times the zero.
  alignas(32) std::int16_t offset[8][2][16];  ///< [groups / 2][half][8 rows x 2]
  alignas(32) float unit[16], min_unit[16];   ///< of scales; of minimums times sums
};

inline __m128i load_rows(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

inline void store_pair(std::int16_t* to, __m256i values) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), values);
}

/// 16 bytes to 16 numbers of 16 bits, each twice.
template <bool kSigned>
inline void double_rows(__m128i rows, std::int16_t (&to)[2][16]) {
  const __m128i low = _mm_unpacklo_epi8(rows, rows), high = _mm_unpackhi_epi8(rows, rows);
  store_pair(to[0], kSigned ? _mm256_cvtepi8_epi16(low) : _mm256_cvtepu8_epi16(low));
  store_pair(to[1], kSigned ? _mm256_cvtepi8_epi16(high) : _mm256_cvtepu8_epi16(high));
}

/// Two groups' bytes to 16-bit numbers, the two of a row side by side.
template <bool kSigned>
inline void pair_rows(__m128i even, __m128i odd, std::int16_t (&to)[2][16]) {
  const __m128i low = _mm_unpacklo_epi8(even, odd), high = _mm_unpackhi_epi8(even, odd);
  store_pair(to[0], kSigned ? _mm256_cvtepi8_epi16(low) : _mm256_cvtepu8_epi16(low));
  store_pair(to[1], kSigned ? _mm256_cvtepi8_epi16(high) : _mm256_cvtepu8_epi16(high));
}

/// Zeros of a tile's groups, each twice: what the sums of two times 16 activations are multiplied
/// with. Scales are read where they are.
template <PanelForm F>
struct ZeroScales {
  using Layout = PanelLayout<F>;
  alignas(32) std::int16_t zero[Layout::kGroups][2][16];  ///< [groups][half][8 rows x 2]
  const std::byte* tile;

  void unpack(const std::byte* from) {
    tile = from;
    for (int g = 0; g < Layout::kGroups; ++g)
      double_rows<false>(load_rows(tile + Layout::kZero + g * kPanelRows), zero[g]);
  }
  __m256 scale(int g, int half) const {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(tile + Layout::kScale) + kPanelRows * g +
                           8 * half);
  }
};

inline void load_half_rows(const std::byte* p, float* to) {
  for (int half = 0; half < 2; ++half)
    _mm256_store_ps(to + 8 * half, _mm256_cvtph_ps(load_rows(p + 16 * half)));
}

/// What goes with the sums of activations of groups 2 i and 2 i + 1.
template <PanelForm F>
inline void unpack_offsets(const std::byte* tile, int i, NestedScales& to) {
  using Layout = PanelLayout<F>;
  const std::byte* const at =
      tile + (Layout::kSeparateMins ? Layout::kGroupMin : Layout::kGroupScale) + 2 * i * kPanelRows;
  const __m128i even = load_rows(at), odd = load_rows(at + kPanelRows);
  if constexpr (Layout::kSeparateMins) {
    pair_rows<false>(even, odd, to.offset[i]);
  } else if constexpr (F.nibble_scales) {
    const __m128i nibble = _mm_set1_epi8(15);
    pair_rows<false>(_mm_and_si128(_mm_srli_epi16(even, 4), nibble),
                     _mm_and_si128(_mm_srli_epi16(odd, 4), nibble), to.offset[i]);
  } else {
    pair_rows<F.signed_scales>(even, odd, to.offset[i]);
    for (auto& half : to.offset[i])
      store_pair(half, _mm256_mullo_epi16(_mm256_load_si256(reinterpret_cast<__m256i*>(half)),
                                          _mm256_set1_epi16(F.zero)));
  }
}

template <PanelForm F>
inline void unpack_scales(const std::byte* tile, NestedScales& to) {
  using Layout = PanelLayout<F>;
  using X = Activations;
  static_assert(F.mins != (F.zero > 0));
  for (int g = 0; g < Layout::kGroups; ++g) {
    __m128i rows = load_rows(tile + Layout::kGroupScale + g * kPanelRows);
    if constexpr (F.nibble_scales) rows = _mm_and_si128(rows, _mm_set1_epi8(15));
    double_rows<F.signed_scales>(rows, to.scale[g]);
  }
  for (int i = 0; i < Layout::kGroups / 2; ++i) unpack_offsets<F>(tile, i, to);
  load_half_rows(tile + Layout::kScale, to.unit);
  if constexpr (F.mins) {
    const __m256 unit = _mm256_set1_ps(1 / (F.group == 32 ? X::kRunSumUnits : X::kHalfSumUnits));
    load_half_rows(tile + Layout::kMin, to.min_unit);
    for (int half = 0; half < 2; ++half)
      _mm256_store_ps(to.min_unit + 8 * half,
                      _mm256_mul_ps(_mm256_load_ps(to.min_unit + 8 * half), unit));
  }
}

}  // namespace
}  // namespace lq::kernels
