#pragma once
// Tiles of panels times tiles of activations with AVX-512 VNNI: a unit is one vector, a lane a row.
//
// vpdpbusd multiplies four columns of 16 rows with four codes of a token and adds them up in 32
// bits: no sum leaves integers before its scale, and codes of 8 bits need no sign.
#include <immintrin.h>

#include "kernels/panels/activations.h"
#include "kernels/panels/layout.h"

namespace lq::kernels {
namespace {

constexpr int kRunUnits = 8;  ///< a run is 32 columns: in it, the place of a unit is a constant

/// Bits [from, from + kCount) of every byte, moved to bit kTo.
template <int kCount, int kTo>
inline __m512i bits_of_bytes(__m512i v, int from) {
  const __m512i mask = _mm512_set1_epi8(static_cast<char>(((1 << kCount) - 1) << kTo));
  if (from > kTo) v = _mm512_srli_epi16(v, static_cast<unsigned>(from - kTo));
  if (from < kTo) v = _mm512_slli_epi16(v, static_cast<unsigned>(kTo - from));
  return _mm512_and_si512(v, mask);
}

/// The codes of a tile as it is stored.
template <PanelForm F>
struct PackedUnits {
  const std::byte* tile;

  /// Unit k of a run.
  __m512i unit(int run, int k) const {
    using Layout = PanelLayout<F>;
    constexpr int kPer = 8 / F.low_bits, kLines = kRunUnits / kPer;
    const __m512i line =
        _mm512_loadu_si512(tile + Layout::kLow + kUnitBytes * (run * kLines + k / kPer));
    if constexpr (F.low_bits == 8) return line;
    __m512i code = bits_of_bytes<F.low_bits, 0>(line, F.low_bits * (k % kPer));
    if constexpr (F.high_bits > 0) {
      constexpr int kHighPer = 8 / F.high_bits, kHighLines = kRunUnits / kHighPer;
      const __m512i high =
          _mm512_loadu_si512(tile + Layout::kHigh + kUnitBytes * (run * kHighLines + k / kHighPer));
      code = _mm512_or_si512(
          code, bits_of_bytes<F.high_bits, F.low_bits>(high, F.high_bits * (k % kHighPer)));
    }
    return code;
  }
};

/// Codes that were taken out of a tile for many tokens.
struct UnpackedUnits {
  const std::uint8_t* code;  ///< [units][64]
  __m512i unit(int run, int k) const {
    return _mm512_loadu_si512(code + kUnitBytes * (run * kRunUnits + k));
  }
};

inline __m128i load_rows(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
inline __m512 load_half_rows(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <class T>
inline T load_as(const std::byte* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}

/// 32-bit sums of the products of kUnits units of a run from unit `first` on with a block x.
template <int kUnits, int T, class Codes>
inline void sum_units(const Codes& codes, const std::byte* x, int run, int first,
                      __m512i (&sum)[T]) {
  for (__m512i& s : sum) s = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int k = 0; k < kUnits; ++k) {
    const __m512i w = codes.unit(run, first + k);
    const std::byte* const words = x + (first + k) * T * 4;
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      sum[t] = _mm512_dpbusd_epi32(sum[t], w, _mm512_set1_epi32(load_as<int>(words + 4 * t)));
  }
}

inline __m512i broadcast_word(const std::byte* p) { return _mm512_set1_epi32(load_as<int>(p)); }

/// The lower or upper 16 bits of every lane, a signed number, times kZero. Shifts have a port of
/// their own beside products on Zen 4.
template <int kZero>
inline __m512i low_times(__m512i pairs) {
  static_assert(kZero > 0 && (kZero & (kZero - 1)) == 0);
  return _mm512_srai_epi32(_mm512_slli_epi32(pairs, 16), 16 - __builtin_ctz(kZero));
}
template <int kZero>
inline __m512i high_times(__m512i pairs) {
  return _mm512_slli_epi32(_mm512_srai_epi32(pairs, 16), __builtin_ctz(kZero));
}
inline __m512 broadcast_float(const std::byte* p) { return _mm512_set1_ps(load_as<float>(p)); }

/// Scales of a nested tile with groups of 32, [row]: products of sums and scales are whole numbers
/// below 2^24, so binary32 holds them.
template <PanelForm F>
struct LongGroupScales {
  using Layout = PanelLayout<F>;
  static_assert(Layout::kSeparateMins);
  __m512 scale[8], min[8], unit, min_unit;

  static __m512 wide(const std::byte* rows) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_rows(rows)));
  }
  void unpack(const std::byte* tile) {
    for (int g = 0; g < 8; ++g) {
      scale[g] = wide(tile + Layout::kGroupScale + g * kPanelRows);
      min[g] = wide(tile + Layout::kGroupMin + g * kPanelRows);
    }
    unit = load_half_rows(tile + Layout::kScale);
    min_unit = load_half_rows(tile + Layout::kMin);
  }

  /// y[t][rows] += the tile times x.
  template <int T, class Codes>
  void add_product(const Codes& codes, const std::byte* x, float (*y)[kPanelRows]) const {
    using X = Activations;
    __m512 products[T], offsets[T];
    for (int t = 0; t < T; ++t) products[t] = offsets[t] = _mm512_setzero_ps();
    for (int run = 0; run < 8; ++run, x += T * X::kTokenBytes) {
      __m512i sum[T];
      sum_units<kRunUnits, T>(codes, x, run, 0, sum);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        products[t] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[t]), scale[run]),
                                      broadcast_float(x + T * X::kScale + 4 * t), products[t]);
        offsets[t] =
            _mm512_fmadd_ps(min[run], broadcast_float(x + T * X::kScaledSum + 4 * t), offsets[t]);
      }
    }
    for (int t = 0; t < T; ++t)
      _mm512_storeu_ps(y[t],
                       _mm512_fnmadd_ps(offsets[t], min_unit,
                                        _mm512_fmadd_ps(products[t], unit, _mm512_loadu_ps(y[t]))));
  }
};

/// Scales of a nested tile with groups of 16 as 32-bit numbers; minimums as 16-bit ones.
template <PanelForm F>
struct ShortGroupScales {
  using Layout = PanelLayout<F>;
  __m512i scale[16];  ///< [row]
  __m512i mins[8];    ///< [row][2 groups of a run]; types with minimums
  __m512 unit, min_unit;

  static __m128i group_rows(const std::byte* tile, int g, int shift) {
    const __m128i rows = load_rows(tile + Layout::kGroupScale + g * kPanelRows);
    return F.nibble_scales ? _mm_and_si128(_mm_srli_epi16(rows, shift), _mm_set1_epi8(15)) : rows;
  }
  static __m512i pairs(__m128i even, __m128i odd) {
    const __m256i both = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_unpacklo_epi8(even, odd)), _mm_unpackhi_epi8(even, odd), 1);
    return _mm512_cvtepu8_epi16(both);
  }
  void unpack(const std::byte* tile) {
    for (int g = 0; g < 16; ++g) {
      const __m128i rows = group_rows(tile, g, 0);
      scale[g] = F.signed_scales ? _mm512_cvtepi8_epi32(rows) : _mm512_cvtepu8_epi32(rows);
    }
    if constexpr (F.mins)
      for (int run = 0; run < 8; ++run)
        mins[run] = pairs(group_rows(tile, 2 * run, 4), group_rows(tile, 2 * run + 1, 4));
    unit = load_half_rows(tile + Layout::kScale);
    min_unit = load_half_rows(tile + Layout::kMin);
  }

  template <int T, class Codes>
  void add_product(const Codes& codes, const std::byte* x, float (*y)[kPanelRows]) const {
    using X = Activations;
    __m512 products[T], offsets[T];
    for (int t = 0; t < T; ++t) products[t] = offsets[t] = _mm512_setzero_ps();
    for (int run = 0; run < 8; ++run, x += T * X::kTokenBytes) {
      __m512i first[T], second[T];
      sum_units<4, T>(codes, x, run, 0, first);
      sum_units<4, T>(codes, x, run, 4, second);
      for (int t = 0; t < T; ++t) {
        const __m512i sums = broadcast_word(x + T * X::kSums + 4 * t);
        if constexpr (!F.mins) {
          first[t] = _mm512_sub_epi32(first[t], low_times<F.zero>(sums));
          second[t] = _mm512_sub_epi32(second[t], high_times<F.zero>(sums));
        }
        const __m512i total = _mm512_add_epi32(_mm512_mullo_epi32(first[t], scale[2 * run]),
                                               _mm512_mullo_epi32(second[t], scale[2 * run + 1]));
        const __m512 x_scale = broadcast_float(x + T * X::kScale + 4 * t);
        products[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), x_scale, products[t]);
        if constexpr (F.mins)
          offsets[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_madd_epi16(mins[run], sums)),
                                       x_scale, offsets[t]);
      }
    }
    for (int t = 0; t < T; ++t) {
      __m512 result = _mm512_fmadd_ps(products[t], unit, _mm512_loadu_ps(y[t]));
      if constexpr (F.mins) result = _mm512_fnmadd_ps(offsets[t], min_unit, result);
      _mm512_storeu_ps(y[t], result);
    }
  }
};

/// Scales of a flat tile.
template <PanelForm F>
struct FlatUnitScales {
  using Layout = PanelLayout<F>;
  __m512 scale[2], low[2];

  void unpack(const std::byte* tile) {
    for (int g = 0; g < 2; ++g) {
      scale[g] = load_half_rows(tile + Layout::kScale + 2 * kPanelRows * g);
      if constexpr (F.mins) low[g] = load_half_rows(tile + Layout::kMin + 2 * kPanelRows * g);
    }
  }

  template <int T, class Codes>
  void add_product(const Codes& codes, const std::byte* x, float (*y)[kPanelRows]) const {
    using X = Activations;
#pragma GCC unroll 2
    for (int g = 0; g < 2; ++g, x += T * X::kTokenBytes) {
      __m512i sum[T];
      sum_units<kRunUnits, T>(codes, x, g, 0, sum);
      for (int t = 0; t < T; ++t) {
        if constexpr (F.zero > 0) {
          const __m512i sums = broadcast_word(x + T * X::kSums + 4 * t);
          sum[t] = _mm512_sub_epi32(
              sum[t], _mm512_add_epi32(low_times<F.zero>(sums), high_times<F.zero>(sums)));
        }
        const __m512 x_scale = broadcast_float(x + T * X::kScale + 4 * t);
        __m512 result = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t]),
                                        _mm512_mul_ps(scale[g], x_scale), _mm512_loadu_ps(y[t]));
        if constexpr (F.mins)
          result = _mm512_fmadd_ps(low[g], broadcast_float(x + T * X::kScaledSum + 4 * t), result);
        _mm512_storeu_ps(y[t], result);
      }
    }
  }
};

/// Zeros of a tile's groups as 16-bit numbers, [row][2]: what the sums of two times 16 activations
/// are multiplied with. Scales are read where they are.
template <PanelForm F>
struct ZeroUnitScales {
  using Layout = PanelLayout<F>;
  __m512i zero[Layout::kGroups];
  const std::byte* tile;

  void unpack(const std::byte* from) {
    tile = from;
    for (int g = 0; g < Layout::kGroups; ++g) {
      const __m512i rows = _mm512_cvtepu8_epi32(load_rows(tile + Layout::kZero + g * kPanelRows));
      zero[g] = _mm512_or_si512(rows, _mm512_slli_epi32(rows, 16));
    }
  }
  __m512 scale(int g) const { return _mm512_loadu_ps(tile + Layout::kScale + 4 * kPanelRows * g); }

  template <int T, class Codes>
  void add_product(const Codes& codes, const std::byte* x, float (*y)[kPanelRows]) const {
    using X = Activations;
    constexpr int kRuns = F.group / 32;
    for (int g = 0; g < Layout::kGroups; ++g) {
      __m512 products[T];
      for (int t = 0; t < T; ++t) products[t] = _mm512_setzero_ps();
      for (int run = 0; run < kRuns; ++run, x += T * X::kTokenBytes) {
        __m512i sum[T];
        sum_units<kRunUnits, T>(codes, x, kRuns * g + run, 0, sum);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
          const __m512 x_scale = broadcast_float(x + T * X::kScale + 4 * t);
          const __m512 whole = _mm512_cvtepi32_ps(_mm512_sub_epi32(
              sum[t], _mm512_madd_epi16(zero[g], broadcast_word(x + T * X::kSums + 4 * t))));
          products[t] = _mm512_fmadd_ps(whole, x_scale, products[t]);
        }
      }
      for (int t = 0; t < T; ++t)
        _mm512_storeu_ps(y[t], _mm512_fmadd_ps(products[t], scale(g), _mm512_loadu_ps(y[t])));
    }
  }
};

template <PanelForm F>
struct UnitScales : FlatUnitScales<F> {};
template <PanelForm F>
requires(F.zeros) struct UnitScales<F> : ZeroUnitScales<F> {
};
template <PanelForm F>
requires(F.nested&& F.group == 32) struct UnitScales<F> : LongGroupScales<F> {
};
template <PanelForm F>
requires(F.nested&& F.group == 16) struct UnitScales<F> : ShortGroupScales<F> {
};

struct PanelsVnni {
  static constexpr int kWidest = 8;
  template <PanelForm F>
  using Scales = UnitScales<F>;
  template <PanelForm F>
  using Packed = PackedUnits<F>;
  using Unpacked = UnpackedUnits;
  template <PanelForm F>
  static void unpack_codes(const std::byte* tile, std::uint8_t* code) {
    const PackedUnits<F> packed{tile};
    for (int run = 0; run < PanelLayout<F>::kUnits / kRunUnits; ++run)
#pragma GCC unroll 8
      for (int k = 0; k < kRunUnits; ++k, code += kUnitBytes)
        _mm512_storeu_si512(code, packed.unit(run, k));
  }
};

}  // namespace
}  // namespace lq::kernels
