#pragma once
// Tiles of panels times tiles of activations with AVX-512 VNNI: a unit is one vector, a lane a row.
//
// vpdpbusd multiplies four columns of 16 rows with four codes of a token and adds them up in 32
// bits: no sum leaves integers before its scale, and codes of 8 bits need no sign.
#include <immintrin.h>

#include <type_traits>

#include "kernels/panels/activations.h"
#include "kernels/panels/layout.h"

namespace lq::kernels {
namespace {

/// Bits [from, from + kCount) of every byte, moved to bit kTo.
template <int kCount, int kTo>
inline __m512i bits_of_bytes(__m512i v, int from) {
  const __m512i mask = _mm512_set1_epi8(static_cast<char>(((1 << kCount) - 1) << kTo));
  if (from > kTo) v = _mm512_srli_epi16(v, static_cast<unsigned>(from - kTo));
  if (from < kTo) v = _mm512_slli_epi16(v, static_cast<unsigned>(kTo - from));
  return _mm512_and_si512(v, mask);
}

/// The codes of 256 columns as they are stored.
template <PanelForm F>
struct PackedUnits {
  const std::byte* tiles;

  /// Unit k of a run.
  __m512i unit(int run, int k) const {
    using Layout = PanelLayout<F>;
    constexpr int kPer = 8 / F.low_bits;
    const std::byte* const lines = Layout::run_lines(tiles, run);
    __m512i high = _mm512_setzero_si512();
    if constexpr (F.high_bits > 0) {
      constexpr int kHighPer = 8 / F.high_bits;
      const __m512i line = _mm512_loadu_si512(lines + Layout::high_line(k / kHighPer));
      high = bits_of_bytes<F.high_bits, F.low_bits>(line, F.high_bits * (k % kHighPer));
    }
    const __m512i line = _mm512_loadu_si512(lines + Layout::low_line(k / kPer));
    if constexpr (F.low_bits == 8) return line;
    const __m512i code = bits_of_bytes<F.low_bits, 0>(line, F.low_bits * (k % kPer));
    return F.high_bits > 0 ? _mm512_or_si512(code, high) : code;
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

inline __m512i broadcast_word(const std::byte* p) { return _mm512_set1_epi32(load_as<int>(p)); }
inline __m512 broadcast_float(const std::byte* p) { return _mm512_set1_ps(load_as<float>(p)); }

/// Adds the products of kUnits units of a run from unit `first` on with its codes x to 32-bit sums.
template <int kUnits, int T, class Codes>
inline void add_units(const Codes& codes, const std::byte* x, int run, int first,
                      __m512i (&sum)[T]) {
#pragma GCC unroll 8
  for (int k = 0; k < kUnits; ++k) {
    const __m512i w = codes.unit(run, first + k);
    const std::byte* const words = x + (first + k) * T * 4;
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      sum[t] = _mm512_dpbusd_epi32(sum[t], w, broadcast_word(words + 4 * t));
  }
}

/// What sums of a group begin with: what the codes' zero would add to them, negated. `sums` are the
/// negated ones of the group's activations.
template <PanelForm F, int T>
inline void begin_sums(const std::byte* sums, __m512i (&sum)[T]) {
  for (int t = 0; t < T; ++t)
    sum[t] = F.zero > 0
                 ? _mm512_slli_epi32(broadcast_word(sums + 4 * t), __builtin_ctz(F.zero | 1 << 30))
                 : _mm512_setzero_si512();
}

/// Groups of 16 are two in a run, under one scale of 256 columns.
template <PanelForm F>
constexpr bool kPairedGroups = F.nested&& F.group == 16;

/// The whole number that is the scale of group g of a nested tile.
template <PanelForm F>
inline __m512 group_scale(const std::byte* tile, int g) {
  __m128i rows = load_rows(tile + PanelLayout<F>::kGroupScale + g * kPanelRows);
  if constexpr (F.nibble_scales) rows = _mm_and_si128(rows, _mm_set1_epi8(15));
  return _mm512_cvtepi32_ps(F.signed_scales ? _mm512_cvtepi8_epi32(rows)
                                            : _mm512_cvtepu8_epi32(rows));
}
/// The scale of a run that is a group.
template <PanelForm F>
inline __m512 run_scale(const std::byte* tiles, int run) {
  using Layout = PanelLayout<F>;
  if constexpr (F.nested)
    return _mm512_mul_ps(group_scale<F>(tiles, run), load_half_rows(tiles + Layout::kScale));
  return load_half_rows(tiles + run / 2 * Layout::kBytes + Layout::kScale +
                        2 * kPanelRows * (run % 2));
}

/// What is added to 256 columns of a type with minimums: those of nested types as pairs of 16-bit
/// numbers, [row][2 groups], those of flat ones where they are.
template <PanelForm F>
struct Minimums {
  using X = Activations;
  const std::byte* tiles;

  void unpack(const std::byte* from) { tiles = from; }
  template <int T>
  void add(const std::byte* x, int n_runs, __m512 (&products)[T]) const {
    using Layout = PanelLayout<F>;
    __m512 lows[T];
    for (__m512& low : lows) low = _mm512_setzero_ps();
    for (int i = 0; i < n_runs / 2; ++i) {
      const std::byte* const from = tiles + i * Layout::kBytes + Layout::kMin;
      const __m512 even = load_half_rows(from), odd = load_half_rows(from + 2 * kPanelRows);
      for (int t = 0; t < T; ++t) {
        const __m512i sums = broadcast_word(x + T * X::kRunSums + 4 * (i * T + t));
        lows[t] = _mm512_fmadd_ps(
            even, _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(sums, 16), 16)), lows[t]);
        lows[t] = _mm512_fmadd_ps(odd, _mm512_cvtepi32_ps(_mm512_srai_epi32(sums, 16)), lows[t]);
      }
    }
    const __m512 unit = _mm512_set1_ps(1 / X::kRunSumUnits);
    for (int t = 0; t < T; ++t) products[t] = _mm512_fmadd_ps(lows[t], unit, products[t]);
  }
};
template <PanelForm F>
requires(F.nested&& F.mins) struct Minimums<F> {
  using X = Activations;
  using Layout = PanelLayout<F>;
  static constexpr int kPairs = Layout::kGroups / 2;
  static constexpr int kSums = F.group == 32 ? X::kRunSums : X::kHalfSums;
  static constexpr float kUnit = 1 / (F.group == 32 ? X::kRunSumUnits : X::kHalfSumUnits);
  __m512i pair[kPairs];
  __m512 unit;

  static __m128i group_rows(const std::byte* tile, int g) {
    if constexpr (Layout::kSeparateMins)
      return load_rows(tile + Layout::kGroupMin + g * kPanelRows);
    const __m128i rows = load_rows(tile + Layout::kGroupScale + g * kPanelRows);
    return _mm_and_si128(_mm_srli_epi16(rows, 4), _mm_set1_epi8(15));
  }
  void unpack(const std::byte* tile) {
    for (int i = 0; i < kPairs; ++i) {
      const __m128i even = group_rows(tile, 2 * i), odd = group_rows(tile, 2 * i + 1);
      const __m256i both = _mm256_inserti128_si256(
          _mm256_castsi128_si256(_mm_unpacklo_epi8(even, odd)), _mm_unpackhi_epi8(even, odd), 1);
      pair[i] = _mm512_cvtepu8_epi16(both);
    }
    unit = _mm512_mul_ps(load_half_rows(tile + Layout::kMin), _mm512_set1_ps(kUnit));
  }
  template <int T>
  void add(const std::byte* x, int, __m512 (&products)[T]) const {
    __m512i offset[T];
    for (__m512i& o : offset) o = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int i = 0; i < kPairs; ++i)
      for (int t = 0; t < T; ++t)
        offset[t] = _mm512_dpwssd_epi32(offset[t], pair[i],
                                        broadcast_word(x + T * kSums + 4 * (i * T + t)));
    for (int t = 0; t < T; ++t)
      products[t] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(offset[t]), unit, products[t]);
  }
};
struct NoMinimums {
  void unpack(const std::byte*) {}
  template <int T>
  void add(const std::byte*, int, __m512 (&)[T]) const {}
};

/// Scales for few tokens: read where they are, multiplied with the ratio of each run.
template <PanelForm F>
struct FewScales {
  const std::byte* tiles;

  void unpack(const std::byte* from, int) { tiles = from; }
  template <int T>
  __m512 times_ratio(const std::byte* x, int run, int t) const {
    return _mm512_mul_ps(run_scale<F>(tiles, run),
                         broadcast_float(x + T * Activations::kRatio + 4 * (run * T + t)));
  }
};

/// Scales for many: those times 1, 1 1/4, 1 1/2 and 1 3/4 are a table, so that the ratio of a run
/// is one of them and a subtraction from the exponent, which leaves the ports of products alone.
template <PanelForm F>
struct ManyScales {
  alignas(64) float table[8][4][kPanelRows];
  std::uint16_t not_zero[8];  ///< rows whose scale has an exponent

  void unpack(const std::byte* tiles, int n_runs) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (int run = 0; run < n_runs; ++run) {
      const __m512 scale = run_scale<F>(tiles, run);
      not_zero[run] = _mm512_test_epi32_mask(_mm512_castps_si512(scale), magnitude);
      for (int m = 0; m < 4; ++m)
        _mm512_storeu_ps(table[run][m],
                         _mm512_mul_ps(scale, _mm512_set1_ps(1 + 0.25f * static_cast<float>(m))));
    }
  }
  template <int T>
  __m512 times_ratio(const std::byte* x, int run, int t) const {
    using X = Activations;
    const auto* const scales = reinterpret_cast<const std::byte*>(table[run]);
    const auto quarters = load_as<std::uint8_t>(x + T * X::kQuarters + run * T + t);
    const __m512i step = broadcast_word(x + T * X::kStep + 4 * (run * T + t));
    return _mm512_castsi512_ps(
        _mm512_maskz_sub_epi32(not_zero[run], _mm512_loadu_si512(scales + quarters), step));
  }
};

/// Scales of paired groups: whole numbers below 2^7, so that binary32 holds the sums of a run times
/// them.
template <PanelForm F>
struct PairScales {
  __m512 scale[16], unit;

  void unpack(const std::byte* tile, int) {
    for (int g = 0; g < 16; ++g) scale[g] = group_scale<F>(tile, g);
    unit = load_half_rows(tile + PanelLayout<F>::kScale);
  }
  template <int T>
  __m512 times_ratio(const std::byte* x, int run, int t) const {
    return broadcast_float(x + T * Activations::kRatio + 4 * (run * T + t));
  }
};

/// What 256 columns are multiplied with, one tile or several.
template <PanelForm F, class Scales>
struct ColumnScales {
  using X = Activations;
  Scales scales;
  std::conditional_t<F.mins, Minimums<F>, NoMinimums> minimums;

  void unpack(const std::byte* tiles, int n_tiles) {
    scales.unpack(tiles, n_tiles * PanelLayout<F>::kTileRuns);
    minimums.unpack(tiles);
  }

  /// Products of codes of a run, with the scales of its groups where there are two.
  template <int T, class Codes>
  void sum_run(const Codes& codes, const std::byte* x, int run, __m512 (&total)[T]) const {
    const std::byte* const sums = x + T * (X::kSums + 12 * run);
    __m512i sum[T];
    if constexpr (!kPairedGroups<F>) {
      begin_sums<F>(sums, sum);
      add_units<kRunUnits, T>(codes, x + 32 * T * run, run, 0, sum);
      for (int t = 0; t < T; ++t) total[t] = _mm512_cvtepi32_ps(sum[t]);
    } else {
      begin_sums<F>(sums + 4 * T, sum);
      add_units<kRunUnits / 2, T>(codes, x + 32 * T * run, run, 0, sum);
      for (int t = 0; t < T; ++t)
        total[t] = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[t]), scales.scale[2 * run]);
      begin_sums<F>(sums + 8 * T, sum);
      add_units<kRunUnits / 2, T>(codes, x + 32 * T * run, run, kRunUnits / 2, sum);
      for (int t = 0; t < T; ++t)
        total[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t]), scales.scale[2 * run + 1], total[t]);
    }
  }

  /// y[t][rows] += the tiles times x.
  template <int T, class Codes>
  void add_product(const Codes& codes, int n_tiles, const std::byte* x,
                   float (*y)[kPanelRows]) const {
    const int n_runs = F.nested ? 8 : n_tiles * PanelLayout<F>::kTileRuns;
    __m512 products[T];
    for (__m512& p : products) p = _mm512_setzero_ps();
    for (int run = 0; run < n_runs; ++run) {
      __m512 total[T];
      sum_run<T>(codes, x, run, total);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
        products[t] =
            _mm512_fmadd_ps(total[t], scales.template times_ratio<T>(x, run, t), products[t]);
    }
    if constexpr (kPairedGroups<F>)
      for (__m512& p : products) p = _mm512_mul_ps(p, scales.unit);
    minimums.add(x, n_runs, products);
    for (int t = 0; t < T; ++t)
      _mm512_storeu_ps(y[t],
                       _mm512_fmadd_ps(products[t], broadcast_float(x + T * X::kScale + 4 * t),
                                       _mm512_loadu_ps(y[t])));
  }
};

/// Zeros of a tile's groups as 16-bit numbers, [row][2]: what the sums of two times 16 activations
/// are multiplied with. Scales are read where they are.
template <PanelForm F>
struct ZeroUnitScales {
  using Layout = PanelLayout<F>;
  __m512i zero[Layout::kGroups];
  const std::byte* tile;

  void unpack(const std::byte* from, int) {
    tile = from;
    for (int g = 0; g < Layout::kGroups; ++g) {
      const __m512i rows = _mm512_cvtepu8_epi32(load_rows(tile + Layout::kZero + g * kPanelRows));
      zero[g] = _mm512_or_si512(rows, _mm512_slli_epi32(rows, 16));
    }
  }
  __m512 scale(int g) const { return _mm512_loadu_ps(tile + Layout::kScale + 4 * kPanelRows * g); }

  template <int T, class Codes>
  void add_product(const Codes& codes, int, const std::byte* x, float (*y)[kPanelRows]) const {
    using X = Activations;
    constexpr int kRuns = F.group / 32;
    __m512 total[T];
    for (__m512& sum : total) sum = _mm512_setzero_ps();
    for (int g = 0; g < Layout::kGroups; ++g) {
      __m512 products[T];
      for (__m512& p : products) p = _mm512_setzero_ps();
      for (int run = kRuns * g; run < kRuns * (g + 1); ++run) {
        __m512i sum[T];
        for (__m512i& s : sum) s = _mm512_setzero_si512();
        add_units<kRunUnits, T>(codes, x + 32 * T * run, run, 0, sum);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
          const int at = 4 * (run * T + t);
          const __m512 whole = _mm512_cvtepi32_ps(_mm512_sub_epi32(
              sum[t], _mm512_madd_epi16(zero[g], broadcast_word(x + T * X::kPairs + at))));
          products[t] =
              _mm512_fmadd_ps(whole, broadcast_float(x + T * X::kRatio + at), products[t]);
        }
      }
      for (int t = 0; t < T; ++t) total[t] = _mm512_fmadd_ps(products[t], scale(g), total[t]);
    }
    for (int t = 0; t < T; ++t)
      _mm512_storeu_ps(y[t], _mm512_fmadd_ps(total[t], broadcast_float(x + T * X::kScale + 4 * t),
                                             _mm512_loadu_ps(y[t])));
  }
};

/// The scales of a type; `Runs` for types whose runs have one each.
template <PanelForm F, class Runs>
struct ScalesOf : ColumnScales<F, Runs> {};
template <PanelForm F, class Runs>
requires(kPairedGroups<F>) struct ScalesOf<F, Runs> : ColumnScales<F, PairScales<F>> {
};
template <PanelForm F, class Runs>
requires(F.zeros) struct ScalesOf<F, Runs> : ZeroUnitScales<F> {
};

struct PanelsVnni {
  using X = Activations;
  static constexpr int kWidest = 8, kBlockTokens = 128, kBlockColumns = 2048;
  template <PanelForm F>
  using Few = ScalesOf<F, FewScales<F>>;
  template <PanelForm F>
  using Many = ScalesOf<F, ManyScales<F>>;
  template <PanelForm F>
  using Packed = PackedUnits<F>;
  using Unpacked = UnpackedUnits;
  template <PanelForm F>
  static void unpack_run(const std::byte* tiles, int run, const Many<F>&, std::uint8_t* code) {
    const PackedUnits<F> packed{tiles};
#pragma GCC unroll 8
    for (int k = 0; k < kRunUnits; ++k, code += kUnitBytes)
      _mm512_storeu_si512(code, packed.unit(run, k));
  }
};

}  // namespace
}  // namespace lq::kernels
