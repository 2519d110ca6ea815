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

/// y[t][rows] += one nested tile.
template <PanelForm F, int T, class Codes>
inline void add_nested(const Codes& codes, const NestedScales& scales, const std::byte* x,
                       float (*y)[kPanelRows]) {
  using X = Activations;
  __m256 products[T][2], offsets[T][2];
  for (int t = 0; t < T; ++t)
    for (int half = 0; half < 2; ++half) products[t][half] = offsets[t][half] = _mm256_setzero_ps();
  for (int run = 0; run < 8; ++run, x += T * X::kTokenBytes) {
    __m256i total[T][2];
    sum_nested_run<F, T>(codes, scales, x, run, total);
    for (int t = 0; t < T; ++t) {
      const __m256 scale = broadcast_float(x + T * X::kScale + 4 * t);
      const __m256i sums = broadcast_word(x + T * X::kSums + 4 * t);
      for (int half = 0; half < 2; ++half) {
        if constexpr (!F.mins)
          total[t][half] = _mm256_sub_epi32(
              total[t][half], _mm256_madd_epi16(vector_at(scales.offset[run][half]), sums));
        products[t][half] =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(total[t][half]), scale, products[t][half]);
        if constexpr (F.mins && F.group == 32)
          offsets[t][half] =
              _mm256_fmadd_ps(_mm256_load_ps(scales.min[run] + 8 * half),
                              broadcast_float(x + T * X::kScaledSum + 4 * t), offsets[t][half]);
        if constexpr (F.mins && F.group == 16)
          offsets[t][half] = _mm256_fmadd_ps(
              _mm256_cvtepi32_ps(_mm256_madd_epi16(vector_at(scales.offset[run][half]), sums)),
              scale, offsets[t][half]);
      }
    }
  }
  for (int t = 0; t < T; ++t)
    for (int half = 0; half < 2; ++half) {
      float* const at = y[t] + 8 * half;
      __m256 sum = _mm256_fmadd_ps(products[t][half], _mm256_load_ps(scales.unit + 8 * half),
                                   _mm256_loadu_ps(at));
      if constexpr (F.mins)
        sum = _mm256_fnmadd_ps(offsets[t][half], _mm256_load_ps(scales.min_unit + 8 * half), sum);
      _mm256_storeu_ps(at, sum);
    }
}

/// The 32-bit sums of group g of a flat tile.
template <PanelForm F, int T, class Codes>
inline void sum_flat_group(const Codes& codes, const std::byte* x, int g, __m256i (&total)[T][2]) {
  using Layout = PanelLayout<F>;
  if constexpr (F.low_bits == 8) {
    sum_bytes<T>(codes, x, g, total);
  } else {
    constexpr int kUnits = units_a_sum<F>();
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 2
    for (int part = 0; part < Layout::kGroupUnits; part += kUnits) {
      __m256i sum[T][2];
      sum_units<kUnits, T>(codes, x, part, g, sum);
      for (int t = 0; t < T; ++t)
        for (int half = 0; half < 2; ++half) {
          const __m256i wide = _mm256_madd_epi16(sum[t][half], ones);
          total[t][half] = part == 0 ? wide : _mm256_add_epi32(total[t][half], wide);
        }
    }
  }
}

/// y[t][rows] += one flat tile, whose scales (and lows) are at `scales`: [2][16] and [2][16].
template <PanelForm F, int T, class Codes>
inline void add_flat(const Codes& codes, const float* scales, const std::byte* x,
                     float (*y)[kPanelRows]) {
  using X = Activations;
#pragma GCC unroll 2
  for (int g = 0; g < 2; ++g, x += T * X::kTokenBytes) {
    __m256i total[T][2];
    sum_flat_group<F, T>(codes, x, g, total);
    for (int t = 0; t < T; ++t) {
      const __m256 x_scale = broadcast_float(x + T * X::kScale + 4 * t);
      // sum_bytes has signed codes, nothing to correct.
      const __m256i zero = _mm256_madd_epi16(broadcast_word(x + T * X::kSums + 4 * t),
                                             _mm256_set1_epi16(F.low_bits == 8 ? 0 : F.zero));
      for (int half = 0; half < 2; ++half) {
        float* const at = y[t] + 8 * half;
        const float* const scale = scales + kPanelRows * g + 8 * half;
        __m256 sum =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(total[t][half], zero)),
                            _mm256_mul_ps(_mm256_load_ps(scale), x_scale), _mm256_loadu_ps(at));
        if constexpr (F.mins)
          sum = _mm256_fmadd_ps(_mm256_load_ps(scale + 2 * kPanelRows),
                                broadcast_float(x + T * X::kScaledSum + 4 * t), sum);
        _mm256_storeu_ps(at, sum);
      }
    }
  }
}

/// y[t][rows] += one tile whose groups have zeros.
template <PanelForm F, int T, class Codes>
inline void add_zeros(const Codes& codes, const ZeroScales<F>& scales, const std::byte* x,
                      float (*y)[kPanelRows]) {
  using X = Activations;
  constexpr int kRuns = F.group / 32;
  static_assert(units_a_sum<F>() == kRunUnits);
  const __m256i ones = _mm256_set1_epi16(1);
  for (int g = 0; g < PanelLayout<F>::kGroups; ++g) {
    __m256 products[T][2];
    for (int t = 0; t < T; ++t) products[t][0] = products[t][1] = _mm256_setzero_ps();
    for (int run = 0; run < kRuns; ++run, x += T * X::kTokenBytes) {
      __m256i sum[T][2];
      sum_units<kRunUnits, T>(codes, x, 0, kRuns * g + run, sum);
      for (int t = 0; t < T; ++t) {
        const __m256 x_scale = broadcast_float(x + T * X::kScale + 4 * t);
        const __m256i x_sums = broadcast_word(x + T * X::kSums + 4 * t);
        for (int half = 0; half < 2; ++half) {
          const __m256i total =
              _mm256_sub_epi32(_mm256_madd_epi16(sum[t][half], ones),
                               _mm256_madd_epi16(vector_at(scales.zero[g][half]), x_sums));
          products[t][half] =
              _mm256_fmadd_ps(_mm256_cvtepi32_ps(total), x_scale, products[t][half]);
        }
      }
    }
    for (int t = 0; t < T; ++t)
      for (int half = 0; half < 2; ++half) {
        float* const at = y[t] + 8 * half;
        _mm256_storeu_ps(
            at, _mm256_fmadd_ps(products[t][half], scales.scale(g, half), _mm256_loadu_ps(at)));
      }
  }
}

/// A tile's scales, ready for products.
template <PanelForm F>
struct TileScalesAvx2 {
  alignas(32) float value[64];  ///< flat: scales [2][16], lows [2][16]
  void unpack(const std::byte* tile) {
    for (int g = 0; g < (F.mins ? 4 : 2); ++g)
      load_half_rows(tile + PanelLayout<F>::kScale + 2 * kPanelRows * g, value + kPanelRows * g);
  }
  template <int T, class Codes>
  void add_product(const Codes& codes, const std::byte* x, float (*y)[kPanelRows]) const {
    add_flat<F, T>(codes, value, x, y);
  }
};
template <PanelForm F>
requires(F.nested) struct TileScalesAvx2<F> {
  NestedScales value;
  void unpack(const std::byte* tile) { unpack_scales<F>(tile, value); }
  template <int T, class Codes>
  void add_product(const Codes& codes, const std::byte* x, float (*y)[kPanelRows]) const {
    add_nested<F, T>(codes, value, x, y);
  }
};

template <PanelForm F>
requires(F.zeros) struct TileScalesAvx2<F> {
  ZeroScales<F> value;
  void unpack(const std::byte* tile) { value.unpack(tile); }
  template <int T, class Codes>
  void add_product(const Codes& codes, const std::byte* x, float (*y)[kPanelRows]) const {
    add_zeros<F, T>(codes, value, x, y);
  }
};

struct PanelsAvx2 {
  static constexpr int kWidest = 4;
  template <PanelForm F>
  using Scales = TileScalesAvx2<F>;
  template <PanelForm F>
  using Packed = PackedCodes<F>;
  using Unpacked = UnpackedCodes;
  template <PanelForm F>
  static void unpack_codes(const std::byte* tile, std::uint8_t* code) {
    unpack_bytes<F>(tile, code);
  }
};

}  // namespace
}  // namespace lq::kernels
