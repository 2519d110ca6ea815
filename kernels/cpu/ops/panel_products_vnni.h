#pragma once
// Tiles of panels times tiles of activations with VNNI, for vectors V of 16 rows (vnni_rows_512.h,
// vnni_rows_256.h): a unit is one vector, a lane a row.
//
// vpdpbusd multiplies four columns of 16 rows with four codes of a token and adds them up in 32
// bits: no sum leaves integers before its scale, and codes of 8 bits need no sign.
#include <type_traits>

#include "kernels/cpu/ops/load_bytes.h"
#include "kernels/panels/activations.h"
#include "kernels/panels/layout.h"

namespace lq::kernels {
namespace {

template <class V>
using IntegersOf = typename V::Integers;
template <class V>
using FloatsOf = typename V::Floats;

/// Bits [from, from + kCount) of every byte, moved to bit kTo.
template <class V, int kCount, int kTo>
inline IntegersOf<V> bits_of_bytes(IntegersOf<V> v, int from) {
  const auto mask = V::bytes(((1 << kCount) - 1) << kTo);
  if (from > kTo) v = V::shift_right_16(v, from - kTo);
  if (from < kTo) v = V::shift_left_16(v, kTo - from);
  return V::bits_and(v, mask);
}

/// The codes of 256 columns as they are stored.
template <class V, PanelForm F>
struct PackedUnits {
  const std::byte* tiles;

  /// Unit k of a run.
  IntegersOf<V> unit(int run, int k) const {
    using Layout = PanelLayout<F>;
    constexpr int kPer = 8 / F.low_bits;
    const std::byte* const lines = Layout::run_lines(tiles, run);
    auto high = V::words(0);
    if constexpr (F.high_bits > 0) {
      constexpr int kHighPer = 8 / F.high_bits;
      const auto line = V::load(lines + Layout::high_line(k / kHighPer));
      high = bits_of_bytes<V, F.high_bits, F.low_bits>(line, F.high_bits * (k % kHighPer));
    }
    const auto line = V::load(lines + Layout::low_line(k / kPer));
    if constexpr (F.low_bits == 8) return line;
    const auto code = bits_of_bytes<V, F.low_bits, 0>(line, F.low_bits * (k % kPer));
    return F.high_bits > 0 ? V::bits_or(code, high) : code;
  }
};

/// Codes that were taken out of a tile for many tokens.
template <class V>
struct UnpackedUnits {
  const std::uint8_t* code;  ///< [units][64]
  IntegersOf<V> unit(int run, int k) const {
    return V::load(code + kUnitBytes * (run * kRunUnits + k));
  }
};

/// Adds the products of kUnits units of a run from unit `first` on with its codes x, the first N of
/// T tokens, to 32-bit sums.
template <class V, int kUnits, int T, class Codes, class Integers, int N>
inline void add_units(const Codes& codes, const std::byte* x, int run, int first,
                      Integers (&sum)[N]) {
#pragma GCC unroll 8
  for (int k = 0; k < kUnits; ++k) {
    const auto w = codes.unit(run, first + k);
    const std::byte* const words = x + (first + k) * T * 4;
#pragma GCC unroll 8
    for (int t = 0; t < N; ++t)
      sum[t] = V::add_byte_products(sum[t], w, V::broadcast_word(words + 4 * t));
  }
}

/// What sums of a group begin with: what the codes' zero would add to them, negated. `sums` are the
/// negated ones of the group's activations.
template <class V, PanelForm F, class Integers, int T>
inline void begin_sums(const std::byte* sums, Integers (&sum)[T]) {
  constexpr int kShift = __builtin_ctz(F.zero | 1 << 30);
  for (int t = 0; t < T; ++t)
    sum[t] = F.zero > 0 ? V::shift_left_32(V::broadcast_word(sums + 4 * t), kShift) : V::words(0);
}

/// Groups of 16 are two in a run, under one scale of 256 columns.
template <PanelForm F>
constexpr bool kPairedGroups = F.nested&& F.group == 16;

/// The whole number that is the scale of group g of a nested tile.
template <class V, PanelForm F>
inline FloatsOf<V> group_scale(const std::byte* tile, int g) {
  __m128i rows = load_16_bytes(tile + PanelLayout<F>::kGroupScale + g * kPanelRows);
  if constexpr (F.nibble_scales) rows = _mm_and_si128(rows, _mm_set1_epi8(15));
  return V::to_floats(F.signed_scales ? V::words_of_signed(rows) : V::words_of(rows));
}
/// The scale of a run that is a group.
template <class V, PanelForm F>
inline FloatsOf<V> run_scale(const std::byte* tiles, int run) {
  using Layout = PanelLayout<F>;
  if constexpr (F.nested)
    return V::multiply(group_scale<V, F>(tiles, run), V::load_halves(tiles + Layout::kScale));
  return V::load_halves(tiles + run / 2 * Layout::kBytes + Layout::kScale +
                        2 * kPanelRows * (run % 2));
}

/// What is added to 256 columns of a type with minimums: those of nested types as pairs of 16-bit
/// numbers, [row][2 groups], those of flat ones where they are.
template <class V, PanelForm F>
struct Minimums {
  using X = Activations;
  using Integers = typename V::Integers;
  using Floats = typename V::Floats;
  const std::byte* tiles;

  void unpack(const std::byte* from) { tiles = from; }
  template <int T>
  void add(const std::byte* x, int n_runs, Floats (&products)[T]) const {
    using Layout = PanelLayout<F>;
    Floats lows[T];
    for (Floats& low : lows) low = V::floats(0);
    for (int i = 0; i < n_runs / 2; ++i) {
      const std::byte* const from = tiles + i * Layout::kBytes + Layout::kMin;
      const Floats even = V::load_halves(from), odd = V::load_halves(from + 2 * kPanelRows);
      for (int t = 0; t < T; ++t) {
        const Integers sums = V::broadcast_word(x + T * X::kRunSums + 4 * (i * T + t));
        lows[t] = V::multiply_add(
            even, V::to_floats(V::shift_signed_right_32(V::shift_left_32(sums, 16), 16)), lows[t]);
        lows[t] = V::multiply_add(odd, V::to_floats(V::shift_signed_right_32(sums, 16)), lows[t]);
      }
    }
    const Floats unit = V::floats(1 / X::kRunSumUnits);
    for (int t = 0; t < T; ++t) products[t] = V::multiply_add(lows[t], unit, products[t]);
  }
};
template <class V, PanelForm F>
requires(F.nested&& F.mins) struct Minimums<V, F> {
  using X = Activations;
  using Layout = PanelLayout<F>;
  using Integers = typename V::Integers;
  using Floats = typename V::Floats;
  static constexpr int kPairs = Layout::kGroups / 2;
  static constexpr int kSums = F.group == 32 ? X::kRunSums : X::kHalfSums;
  static constexpr float kUnit = 1 / (F.group == 32 ? X::kRunSumUnits : X::kHalfSumUnits);
  Integers pair[kPairs];
  Floats unit;

  static __m128i group_rows(const std::byte* tile, int g) {
    if constexpr (Layout::kSeparateMins)
      return load_16_bytes(tile + Layout::kGroupMin + g * kPanelRows);
    const __m128i rows = load_16_bytes(tile + Layout::kGroupScale + g * kPanelRows);
    return _mm_and_si128(_mm_srli_epi16(rows, 4), _mm_set1_epi8(15));
  }
  void unpack(const std::byte* tile) {
    for (int i = 0; i < kPairs; ++i)
      pair[i] = V::pairs_of(group_rows(tile, 2 * i), group_rows(tile, 2 * i + 1));
    unit = V::multiply(V::load_halves(tile + Layout::kMin), V::floats(kUnit));
  }
  template <int T>
  void add(const std::byte* x, int, Floats (&products)[T]) const {
    Integers offset[T];
    for (Integers& o : offset) o = V::words(0);
#pragma GCC unroll 8
    for (int i = 0; i < kPairs; ++i)
      for (int t = 0; t < T; ++t)
        offset[t] = V::add_pair_products(offset[t], pair[i],
                                         V::broadcast_word(x + T * kSums + 4 * (i * T + t)));
    for (int t = 0; t < T; ++t)
      products[t] = V::multiply_subtract_from(V::to_floats(offset[t]), unit, products[t]);
  }
};
template <class V>
struct NoMinimums {
  void unpack(const std::byte*) {}
  template <int T>
  void add(const std::byte*, int, FloatsOf<V> (&)[T]) const {}
};

/// Scales for few tokens: read where they are, multiplied with the ratio of each run.
template <class V, PanelForm F>
struct FewScales {
  const std::byte* tiles;

  void unpack(const std::byte* from, int) { tiles = from; }
  template <int T>
  FloatsOf<V> times_ratio(const std::byte* x, int run, int t) const {
    return V::multiply(run_scale<V, F>(tiles, run),
                       V::broadcast_float(x + T * Activations::kRatio + 4 * (run * T + t)));
  }
};

/// Scales for many: those times 1, 1 1/4, 1 1/2 and 1 3/4 are a table, so that the ratio of a run
/// is one of them and a subtraction from the exponent, which leaves the ports of products alone.
template <class V, PanelForm F>
struct ManyScales {
  using Integers = typename V::Integers;
  using Floats = typename V::Floats;
  alignas(64) float table[8][4][kPanelRows];
  typename V::Mask not_zero[8];  ///< rows whose scale has an exponent

  void unpack(const std::byte* tiles, int n_runs) {
    for (int run = 0; run < n_runs; ++run) {
      const Floats scale = run_scale<V, F>(tiles, run);
      not_zero[run] = V::not_zero(scale);
      for (int m = 0; m < 4; ++m)
        V::store_floats(table[run][m],
                        V::multiply(scale, V::floats(1 + 0.25f * static_cast<float>(m))));
    }
  }
  template <int T>
  Floats times_ratio(const std::byte* x, int run, int t) const {
    using X = Activations;
    const auto* const scales = reinterpret_cast<const std::byte*>(table[run]);
    const auto quarters = load_as<std::uint8_t>(x + T * X::kQuarters + run * T + t);
    const Integers step = V::broadcast_word(x + T * X::kStep + 4 * (run * T + t));
    return V::as_floats(V::subtract_32_where(not_zero[run], V::load(scales + quarters), step));
  }
};

/// Scales of paired groups: whole numbers below 2^7, so that binary32 holds the sums of a run times
/// them.
template <class V, PanelForm F>
struct PairScales {
  using Floats = typename V::Floats;
  Floats scale[16], unit;

  void unpack(const std::byte* tile, int) {
    for (int g = 0; g < 16; ++g) scale[g] = group_scale<V, F>(tile, g);
    unit = V::load_halves(tile + PanelLayout<F>::kScale);
  }
  template <int T>
  Floats times_ratio(const std::byte* x, int run, int t) const {
    return V::broadcast_float(x + T * Activations::kRatio + 4 * (run * T + t));
  }
};

/// What 256 columns are multiplied with, one tile or several.
template <class V, PanelForm F, class Scales>
struct ColumnScales {
  using X = Activations;
  using Integers = typename V::Integers;
  using Floats = typename V::Floats;
  Scales scales;
  std::conditional_t<F.mins, Minimums<V, F>, NoMinimums<V>> minimums;

  void unpack(const std::byte* tiles, int n_tiles) {
    scales.unpack(tiles, n_tiles * PanelLayout<F>::kTileRuns);
    minimums.unpack(tiles);
  }

  /// Products of codes of a run, with the scales of its groups where there are two.
  template <int T, class Codes>
  void sum_run(const Codes& codes, const std::byte* x, int run, Floats (&total)[T]) const {
    const std::byte* const sums = x + T * (X::kSums + 12 * run);
    Integers sum[T];
    if constexpr (!kPairedGroups<F>) {
      begin_sums<V, F>(sums, sum);
      add_units<V, kRunUnits, T>(codes, x + 32 * T * run, run, 0, sum);
      for (int t = 0; t < T; ++t) total[t] = V::to_floats(sum[t]);
    } else {
      begin_sums<V, F>(sums + 4 * T, sum);
      add_units<V, kRunUnits / 2, T>(codes, x + 32 * T * run, run, 0, sum);
      for (int t = 0; t < T; ++t)
        total[t] = V::multiply(V::to_floats(sum[t]), scales.scale[2 * run]);
      begin_sums<V, F>(sums + 8 * T, sum);
      add_units<V, kRunUnits / 2, T>(codes, x + 32 * T * run, run, kRunUnits / 2, sum);
      for (int t = 0; t < T; ++t)
        total[t] = V::multiply_add(V::to_floats(sum[t]), scales.scale[2 * run + 1], total[t]);
    }
  }

  /// y[t][rows] += the tiles times x.
  template <int T, class Codes>
  void add_product(const Codes& codes, int n_tiles, const std::byte* x,
                   float (*y)[kPanelRows]) const {
    const int n_runs = F.nested ? 8 : n_tiles * PanelLayout<F>::kTileRuns;
    Floats products[T];
    for (Floats& p : products) p = V::floats(0);
    for (int run = 0; run < n_runs; ++run) {
      Floats total[T];
      sum_run<T>(codes, x, run, total);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t)
        products[t] =
            V::multiply_add(total[t], scales.template times_ratio<T>(x, run, t), products[t]);
    }
    if constexpr (kPairedGroups<F>)
      for (Floats& p : products) p = V::multiply(p, scales.unit);
    minimums.template add<T>(x, n_runs, products);
    for (int t = 0; t < T; ++t)
      V::store_floats(y[t],
                      V::multiply_add(products[t], V::broadcast_float(x + T * X::kScale + 4 * t),
                                      V::load_floats(y[t])));
  }
};

/// Zeros of a tile's groups as 16-bit numbers, [row][2]: what the sums of two times 16 activations
/// are multiplied with. Scales are read where they are.
template <class V, PanelForm F>
struct ZeroUnitScales {
  using Layout = PanelLayout<F>;
  using Integers = typename V::Integers;
  using Floats = typename V::Floats;
  Integers zero[Layout::kGroups];
  const std::byte* tile;

  void unpack(const std::byte* from, int) {
    tile = from;
    for (int g = 0; g < Layout::kGroups; ++g) {
      const Integers rows = V::words_of(load_16_bytes(tile + Layout::kZero + g * kPanelRows));
      zero[g] = V::bits_or(rows, V::shift_left_32(rows, 16));
    }
  }
  Floats scale(int g) const { return V::load_floats(tile + Layout::kScale + 4 * kPanelRows * g); }

  template <int T, class Codes>
  void add_product(const Codes& codes, int, const std::byte* x, float (*y)[kPanelRows]) const {
    using X = Activations;
    constexpr int kRuns = F.group / 32;
    Floats total[T];
    for (Floats& sum : total) sum = V::floats(0);
    for (int g = 0; g < Layout::kGroups; ++g) {
      Floats products[T];
      for (Floats& p : products) p = V::floats(0);
      for (int run = kRuns * g; run < kRuns * (g + 1); ++run) {
        Integers sum[T];
        for (Integers& s : sum) s = V::words(0);
        add_units<V, kRunUnits, T>(codes, x + 32 * T * run, run, 0, sum);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
          const int at = 4 * (run * T + t);
          const Floats whole = V::to_floats(V::subtract_32(
              sum[t], V::pair_products(zero[g], V::broadcast_word(x + T * X::kPairs + at))));
          products[t] =
              V::multiply_add(whole, V::broadcast_float(x + T * X::kRatio + at), products[t]);
        }
      }
      for (int t = 0; t < T; ++t) total[t] = V::multiply_add(products[t], scale(g), total[t]);
    }
    for (int t = 0; t < T; ++t)
      V::store_floats(y[t], V::multiply_add(total[t], V::broadcast_float(x + T * X::kScale + 4 * t),
                                            V::load_floats(y[t])));
  }
};

/// The scales of a type; `Runs` for types whose runs have one each.
template <class V, PanelForm F, class Runs>
struct ScalesOf : ColumnScales<V, F, Runs> {};
template <class V, PanelForm F, class Runs>
requires(kPairedGroups<F>) struct ScalesOf<V, F, Runs> : ColumnScales<V, F, PairScales<V, F>> {
};
template <class V, PanelForm F, class Runs>
requires(F.zeros) struct ScalesOf<V, F, Runs> : ZeroUnitScales<V, F> {
};

template <class V>
struct PanelsVnni {
  using X = Activations;
  static constexpr int kWidest = V::kTokens, kBlockTokens = 128, kBlockColumns = 2048;
  template <PanelForm F>
  using Few = ScalesOf<V, F, FewScales<V, F>>;
  template <PanelForm F>
  using Many = ScalesOf<V, F, ManyScales<V, F>>;
  template <PanelForm F>
  using Packed = PackedUnits<V, F>;
  using Unpacked = UnpackedUnits<V>;
  template <PanelForm F>
  static void unpack_run(const std::byte* tiles, int run, const Many<F>&, std::uint8_t* code) {
    const PackedUnits<V, F> packed{tiles};
#pragma GCC unroll 8
    for (int k = 0; k < kRunUnits; ++k, code += kUnitBytes) V::store(code, packed.unit(run, k));
  }
};

}  // namespace
}  // namespace lq::kernels
