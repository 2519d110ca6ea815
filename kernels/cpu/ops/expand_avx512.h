#pragma once
// Weights of panels and activations as tiles of bfloat16, with AVX-512 and its BF16.
#include "kernels/cpu/ops/panel_groups.h"
#include "kernels/cpu/ops/vnni_rows_512.h"
#include "kernels/panels/tile_products.h"

namespace lq::kernels {
namespace {

/// Numbers of `first`, then those of `second`.
inline __m512i to_bfloats(__m512 first, __m512 second) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
}

/// Pairs of one number of the first half and one of the second.
inline __m512i pairs_of_halves(__m512i numbers) {
  const __m512i lanes =
      _mm512_set_epi32(0x001f000f, 0x001e000e, 0x001d000d, 0x001c000c, 0x001b000b, 0x001a000a,
                       0x00190009, 0x00180008, 0x00170007, 0x00160006, 0x00150005, 0x00140004,
                       0x00130003, 0x00120002, 0x00110001, 0x00100000);
  return _mm512_permutexvar_epi16(lanes, numbers);
}

/// Pairs of one number of `even` and one of `odd`.
inline __m512i to_bfloat_pairs(__m512 even, __m512 odd) {
  return pairs_of_halves(to_bfloats(even, odd));
}

/// Two columns of a panel of numbers of 16 bits.
inline __m512i column_pairs(const BlockBF16* columns) {
  return pairs_of_halves(_mm512_loadu_si512(columns));
}
inline __m512i column_pairs(const BlockF16* columns) {
  const auto* const halves = reinterpret_cast<const std::byte*>(columns);
  return to_bfloat_pairs(VnniRows512::load_halves(halves),
                         VnniRows512::load_halves(halves + 2 * kPanelRows));
}

/// Column kColumn of a unit of codes, as weights.
template <int kColumn, class Group>
inline __m512 column_of(const Group& group, __m512i unit) {
  constexpr int kAlone = static_cast<int>(0x80808000u) + kColumn;  // the other three bytes are 0
  const __m512i place = _mm512_set4_epi32(kAlone + 12, kAlone + 8, kAlone + 4, kAlone);
  return group.value(_mm512_cvtepi32_ps(_mm512_shuffle_epi8(unit, place)));
}

/// For sets of tiles: tile_products.h.
struct ExpandAvx512 {
  template <PanelForm F>
  static void expand(const std::byte* tile, int run, std::byte* b) {
    using Layout = PanelLayout<F>;
    // A group may be several runs.
    constexpr int kUnits = Layout::kGroupUnits < kRunUnits ? Layout::kGroupUnits : kRunUnits;
    constexpr int kRunGroups = kRunUnits / kUnits;
    const PackedUnits<VnniRows512, F> packed{tile};
#pragma GCC unroll 2
    for (int g = 0; g < kRunGroups; ++g) {
      const GroupWeights<VnniRows512, F> group(
          tile, (kRunUnits * run + kUnits * g) / Layout::kGroupUnits);
#pragma GCC unroll 8
      for (int k = 0; k < kUnits; ++k, b += 2 * kTileRow) {
        const __m512i unit = packed.unit(run, kUnits * g + k);
        _mm512_storeu_si512(b,
                            to_bfloat_pairs(column_of<0>(group, unit), column_of<1>(group, unit)));
        _mm512_storeu_si512(b + kTileRow,
                            to_bfloat_pairs(column_of<2>(group, unit), column_of<3>(group, unit)));
      }
    }
  }

  template <class Block>
  static void expand_floats(const std::byte* from, std::byte* b) {
    for (int c = 0; c < kStepColumns; c += 2, b += kTileRow)
      _mm512_storeu_si512(b, column_pairs(reinterpret_cast<const Block*>(from) + c * kPanelRows));
  }

  static void round_columns(const float* x, std::byte* to) {
    _mm512_storeu_si512(to, to_bfloats(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)));
  }
};

}  // namespace
}  // namespace lq::kernels
