#pragma once
// One tile of a panel times one tile of activations on AVX2.
//
// maddubs multiplies the codes of eight rows with four columns of a token and adds neighbours to
// 16-bit sums; as many such sums as 16 bits hold are added before they become 32 bits, and that
// step multiplies them with the scale of the group.
#include "kernels/cpu/ops/panel_codes_avx2.h"
#include "kernels/cpu/ops/vector_avx2.h"
#include "kernels/panels/activations.h"

namespace lq::kernels {
namespace {

/// Units whose products of codes and activations (at most 127) can be added in 16 bits.
template <PanelForm F>
constexpr int units_a_sum() {
  const int fit = 32767 / (2 * PanelLayout<F>::kMaxCode * 127);
  int units = PanelLayout<F>::kGroupUnits;
  while (units > fit) units /= 2;
  return units;
}

inline __m256i broadcast_word(const std::byte* p) {
  std::int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm256_set1_epi32(word);
}
inline __m256 broadcast_float(const std::byte* p) {
  float value;
  __builtin_memcpy(&value, p, sizeof value);
  return _mm256_set1_ps(value);
}
inline const __m256i& vector_at(const std::int16_t* p) {
  return *reinterpret_cast<const __m256i*>(p);
}

/// Keeps the compiler from adding in another order, for which it would hold all products at once.
inline void keep_order(__m256i& sum) { __asm__("" : "+x"(sum)); }

/// 16-bit sums of the products of kUnits units of a run from unit `first` on with a block x.
template <int kUnits, int T, class Codes>
inline void sum_units(const Codes& codes, const std::byte* x, int first, int run,
                      __m256i (&sum)[T][2]) {
#pragma GCC unroll 8
  for (int k = 0; k < kUnits; ++k) {
    const __m256i w[2] = {codes.unit(run, first + k, 0), codes.unit(run, first + k, 1)};
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      const __m256i word = broadcast_word(x + ((first + k) * T + t) * 4);
      for (int half = 0; half < 2; ++half) {
        const __m256i products = _mm256_maddubs_epi16(w[half], word);
        sum[t][half] = k == 0 ? products : _mm256_add_epi16(sum[t][half], products);
        keep_order(sum[t][half]);
      }
    }
  }
}

/// 32-bit sums of the products of 8-bit codes (128 stands for 0): the activation takes the sign.
template <int T, class Codes>
inline void sum_bytes(const Codes& codes, const std::byte* x, int run, __m256i (&sum)[T][2]) {
  const __m256i ones = _mm256_set1_epi16(1), zero = _mm256_set1_epi8(-128);
#pragma GCC unroll 8
  for (int k = 0; k < kRunUnits; ++k)
    for (int half = 0; half < 2; ++half) {
      const __m256i w = _mm256_xor_si256(codes.unit(run, k, half), zero);
      const __m256i magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const __m256i word = broadcast_word(x + (k * T + t) * 4);
        const __m256i products =
            _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(word, w)), ones);
        sum[t][half] = k == 0 ? products : _mm256_add_epi32(sum[t][half], products);
        keep_order(sum[t][half]);
      }
    }
}

/// The 32-bit sums of a run of a nested tile, with the scales of its groups.
template <PanelForm F, int T, class Codes>
inline void sum_nested_run(const Codes& codes, const NestedScales& scales, const std::byte* x,
                           int run, __m256i (&total)[T][2]) {
  using Layout = PanelLayout<F>;
  constexpr int kUnits = units_a_sum<F>(), kRunGroups = kRunUnits / Layout::kGroupUnits;
#pragma GCC unroll 4
  for (int first = 0; first < kRunUnits; first += kUnits) {
    __m256i sum[T][2];
    sum_units<kUnits, T>(codes, x, first, run, sum);
    const auto& scale = scales.scale[run * kRunGroups + first / Layout::kGroupUnits];
    for (int t = 0; t < T; ++t)
      for (int half = 0; half < 2; ++half) {
        const __m256i scaled = _mm256_madd_epi16(sum[t][half], vector_at(scale[half]));
        total[t][half] = first == 0 ? scaled : _mm256_add_epi32(total[t][half], scaled);
      }
  }
}

/// products += the sums of a run times their scale.
template <int T>
inline void add_sums(const __m256i (&total)[T][2], const __m256 (&factor)[T][2],
                     __m256 (&products)[T][2]) {
  for (int t = 0; t < T; ++t)
    for (int half = 0; half < 2; ++half)
      products[t][half] =
          _mm256_fmadd_ps(_mm256_cvtepi32_ps(total[t][half]), factor[t][half], products[t][half]);
}

/// y[t][rows] += 256 columns times the activations' scale.
template <int T>
inline void add_to(float (*y)[kPanelRows], const __m256 (&products)[T][2], const std::byte* x) {
  for (int t = 0; t < T; ++t) {
    const __m256 scale = broadcast_float(x + T * Activations::kScale + 4 * t);
    for (int half = 0; half < 2; ++half) {
      float* const at = y[t] + 8 * half;
      _mm256_storeu_ps(at, _mm256_fmadd_ps(products[t][half], scale, _mm256_loadu_ps(at)));
    }
  }
}

/// The products of a run of a nested tile; those of groups of 16 without the scale of the tile.
template <PanelForm F, int T, class Codes>
inline void add_nested_run(const Codes& codes, const NestedScales& scales, const std::byte* x,
                           int run, __m256 (&products)[T][2]) {
  using X = Activations;
  __m256i total[T][2];
  __m256 factor[T][2];
  sum_nested_run<F, T>(codes, scales, x + 32 * T * run, run, total);
  for (int t = 0; t < T; ++t) {
    const int at = 4 * (run * T + t);
    const __m256 ratio = broadcast_float(x + T * X::kRatio + at);
    for (int half = 0; half < 2; ++half) {
      if constexpr (F.zero > 0) {
        static_assert(F.group == 16);
        total[t][half] = _mm256_sub_epi32(
            total[t][half], _mm256_madd_epi16(vector_at(scales.offset[run][half]),
                                              broadcast_word(x + T * X::kPairs + at)));
      }
      factor[t][half] =
          F.group == 16 ? ratio : _mm256_mul_ps(_mm256_load_ps(scales.unit + 8 * half), ratio);
    }
  }
  add_sums<T>(total, factor, products);
}

/// products less what the minimums of a nested tile give.
template <PanelForm F, int T>
inline void take_minimums(const NestedScales& scales, const std::byte* x,
                          __m256 (&products)[T][2]) {
  using X = Activations;
  constexpr int kSums = F.group == 32 ? X::kRunSums : X::kHalfSums;
  for (int t = 0; t < T; ++t) {
    __m256i offset[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 8
    for (int i = 0; i < PanelLayout<F>::kGroups / 2; ++i) {
      const __m256i sums = broadcast_word(x + T * kSums + 4 * (i * T + t));
      for (int half = 0; half < 2; ++half)
        offset[half] = _mm256_add_epi32(offset[half],
                                        _mm256_madd_epi16(vector_at(scales.offset[i][half]), sums));
    }
    for (int half = 0; half < 2; ++half)
      products[t][half] =
          _mm256_fnmadd_ps(_mm256_cvtepi32_ps(offset[half]),
                           _mm256_load_ps(scales.min_unit + 8 * half), products[t][half]);
  }
}

/// y[t][rows] += one nested tile.
template <PanelForm F, int T, class Codes>
inline void add_nested(const Codes& codes, const NestedScales& scales, const std::byte* x,
                       float (*y)[kPanelRows]) {
  __m256 products[T][2];
  for (int t = 0; t < T; ++t) products[t][0] = products[t][1] = _mm256_setzero_ps();
  for (int run = 0; run < 8; ++run) add_nested_run<F, T>(codes, scales, x, run, products);
  if constexpr (F.group == 16)
    for (int t = 0; t < T; ++t)
      for (int half = 0; half < 2; ++half)
        products[t][half] =
            _mm256_mul_ps(products[t][half], _mm256_load_ps(scales.unit + 8 * half));
  if constexpr (F.mins) take_minimums<F, T>(scales, x, products);
  add_to<T>(y, products, x);
}

/// The 32-bit sums of a run of a flat tile.
template <PanelForm F, int T, class Codes>
inline void sum_flat_run(const Codes& codes, const std::byte* x, int run, __m256i (&total)[T][2]) {
  using Layout = PanelLayout<F>;
  if constexpr (F.low_bits == 8) {
    sum_bytes<T>(codes, x, run, total);
  } else {
    constexpr int kUnits = units_a_sum<F>();
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 2
    for (int part = 0; part < Layout::kGroupUnits; part += kUnits) {
      __m256i sum[T][2];
      sum_units<kUnits, T>(codes, x, part, run, sum);
      for (int t = 0; t < T; ++t)
        for (int half = 0; half < 2; ++half) {
          const __m256i wide = _mm256_madd_epi16(sum[t][half], ones);
          total[t][half] = part == 0 ? wide : _mm256_add_epi32(total[t][half], wide);
        }
    }
  }
}

/// Scales of flat tiles, and lows, where they are: for few tokens.
template <PanelForm F>
struct StoredScales {
  using Layout = PanelLayout<F>;
  const std::byte* tiles;

  void unpack(const std::byte* from, int) { tiles = from; }
  /// Of 8 rows of a run.
  __m256 scale(int run, int half) const { return at(Layout::kScale, run, half); }
  __m256 low(int run, int half) const { return at(Layout::kMin, run, half); }

 private:
  __m256 at(int from, int run, int half) const {
    return _mm256_cvtph_ps(load_rows(tiles + run / 2 * Layout::kBytes + from +
                                     2 * kPanelRows * (run % 2) + kPanelRows * half));
  }
};
/// The same in binary32: for many, where there are no registers for them.
template <PanelForm F>
struct WideScales {
  alignas(32) float scales[8][kPanelRows], lows[8][kPanelRows];

  void unpack(const std::byte* tiles, int n_runs) {
    const StoredScales<F> stored{tiles};
    for (int run = 0; run < n_runs; ++run)
      for (int half = 0; half < 2; ++half) {
        _mm256_store_ps(scales[run] + 8 * half, stored.scale(run, half));
        if constexpr (F.mins) _mm256_store_ps(lows[run] + 8 * half, stored.low(run, half));
      }
  }
  __m256 scale(int run, int half) const { return _mm256_load_ps(scales[run] + 8 * half); }
  __m256 low(int run, int half) const { return _mm256_load_ps(lows[run] + 8 * half); }
};

/// products += what the lows of flat tiles give.
template <int T, class Scales>
inline void add_lows(const Scales& scales, int n_runs, const std::byte* x,
                     __m256 (&products)[T][2]) {
  using X = Activations;
  const __m256 unit = _mm256_set1_ps(1 / X::kRunSumUnits);
  for (int t = 0; t < T; ++t) {
    __m256 lows[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int run = 0; run < n_runs; ++run) {
      std::int16_t number;
      __builtin_memcpy(&number, x + T * X::kRunSums + 4 * (run / 2 * T + t) + 2 * (run % 2), 2);
      const __m256 sum = _mm256_set1_ps(static_cast<float>(number));
      for (int half = 0; half < 2; ++half)
        lows[half] = _mm256_fmadd_ps(scales.low(run, half), sum, lows[half]);
    }
    for (int half = 0; half < 2; ++half)
      products[t][half] = _mm256_fmadd_ps(lows[half], unit, products[t][half]);
  }
}

/// y[t][rows] += n_runs runs of flat tiles.
template <PanelForm F, int T, class Codes, class Scales>
inline void add_flat(const Codes& codes, const Scales& scales, int n_runs, const std::byte* x,
                     float (*y)[kPanelRows]) {
  using X = Activations;
  __m256 products[T][2];
  for (int t = 0; t < T; ++t) products[t][0] = products[t][1] = _mm256_setzero_ps();
  for (int run = 0; run < n_runs; ++run) {
    __m256i total[T][2];
    __m256 factor[T][2];
    sum_flat_run<F, T>(codes, x + 32 * T * run, run, total);
    for (int t = 0; t < T; ++t) {
      const int at = 4 * (run * T + t);
      const __m256 ratio = broadcast_float(x + T * X::kRatio + at);
      // sum_bytes has signed codes, nothing to correct.
      const __m256i zero = _mm256_madd_epi16(broadcast_word(x + T * X::kPairs + at),
                                             _mm256_set1_epi16(F.low_bits == 8 ? 0 : F.zero));
      for (int half = 0; half < 2; ++half) {
        total[t][half] = _mm256_sub_epi32(total[t][half], zero);
        factor[t][half] = _mm256_mul_ps(scales.scale(run, half), ratio);
      }
    }
    add_sums<T>(total, factor, products);
  }
  if constexpr (F.mins) add_lows<T>(scales, n_runs, x, products);
  add_to<T>(y, products, x);
}

/// y[t][rows] += one tile whose groups have zeros.
template <PanelForm F, int T, class Codes>
inline void add_zeros(const Codes& codes, const ZeroScales<F>& scales, const std::byte* x,
                      float (*y)[kPanelRows]) {
  using X = Activations;
  constexpr int kRuns = F.group / 32;
  static_assert(units_a_sum<F>() == kRunUnits);
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 sums[T][2];
  for (int t = 0; t < T; ++t) sums[t][0] = sums[t][1] = _mm256_setzero_ps();
  for (int g = 0; g < PanelLayout<F>::kGroups; ++g) {
    __m256 products[T][2];
    for (int i = 0; i < kRuns; ++i) {
      const int run = kRuns * g + i;
      __m256i sum[T][2];
      sum_units<kRunUnits, T>(codes, x + 32 * T * run, 0, run, sum);
      for (int t = 0; t < T; ++t) {
        const int at = 4 * (run * T + t);
        const __m256 ratio = broadcast_float(x + T * X::kRatio + at);
        const __m256i x_sums = broadcast_word(x + T * X::kPairs + at);
        for (int half = 0; half < 2; ++half) {
          const __m256 total = _mm256_cvtepi32_ps(
              _mm256_sub_epi32(_mm256_madd_epi16(sum[t][half], ones),
                               _mm256_madd_epi16(vector_at(scales.zero[g][half]), x_sums)));
          if constexpr (kRuns == 1) {  // registers for more than one sum are not there
            sums[t][half] = _mm256_fmadd_ps(total * ratio, scales.scale(g, half), sums[t][half]);
          } else {
            const __m256 before = i == 0 ? _mm256_setzero_ps() : products[t][half];
            products[t][half] = _mm256_fmadd_ps(total, ratio, before);
          }
        }
      }
    }
    if constexpr (kRuns > 1)
      for (int t = 0; t < T; ++t)
        for (int half = 0; half < 2; ++half)
          sums[t][half] = _mm256_fmadd_ps(products[t][half], scales.scale(g, half), sums[t][half]);
  }
  add_to<T>(y, sums, x);
}

/// The scales of 256 columns, ready for products; `Flat` for flat types.
template <PanelForm F, class Flat>
struct ColumnScalesAvx2 {
  using Layout = PanelLayout<F>;
  Flat value;
  void unpack(const std::byte* tiles, int n_tiles) {
    value.unpack(tiles, n_tiles * Layout::kTileRuns);
  }
  template <int T, class Codes>
  void add_product(const Codes& codes, int n_tiles, const std::byte* x,
                   float (*y)[kPanelRows]) const {
    add_flat<F, T>(codes, value, n_tiles * Layout::kTileRuns, x, y);
  }
};
template <PanelForm F, class Flat>
requires(F.nested) struct ColumnScalesAvx2<F, Flat> {
  NestedScales value;
  void unpack(const std::byte* tile, int) { unpack_scales<F>(tile, value); }
  template <int T, class Codes>
  void add_product(const Codes& codes, int, const std::byte* x, float (*y)[kPanelRows]) const {
    add_nested<F, T>(codes, value, x, y);
  }
};

template <PanelForm F, class Flat>
requires(F.zeros) struct ColumnScalesAvx2<F, Flat> {
  ZeroScales<F> value;
  void unpack(const std::byte* tile, int) { value.unpack(tile); }
  template <int T, class Codes>
  void add_product(const Codes& codes, int, const std::byte* x, float (*y)[kPanelRows]) const {
    add_zeros<F, T>(codes, value, x, y);
  }
};

struct PanelsAvx2 {
  using X = Activations;
  static constexpr int kWidest = 4, kBlockTokens = 128, kBlockColumns = 2048;
  template <PanelForm F>
  using Few = ColumnScalesAvx2<F, StoredScales<F>>;
  template <PanelForm F>
  using Many = ColumnScalesAvx2<F, WideScales<F>>;
  template <PanelForm F>
  using Packed = PackedCodes<F>;
  using Unpacked = UnpackedCodes;
  template <PanelForm F>
  static void unpack_run(const std::byte* tiles, int run, const Many<F>&, std::uint8_t* code) {
    unpack_bytes<F>(tiles, run, code);
  }
};

}  // namespace
}  // namespace lq::kernels
