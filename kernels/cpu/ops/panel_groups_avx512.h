#pragma once
// Groups of weights in a panel, with AVX-512: a lane is a row.
#include "kernels/cpu/ops/panel_products_vnni.h"

namespace lq::kernels {
namespace {

/// Step and low of 16 rows for a group of a run.
template <PanelForm F>
struct GroupWeights {
  using Layout = PanelLayout<F>;
  __m512 step, low;
  __m512 zero;  ///< types whose groups have zeros

  /// Group g of a tile.
  GroupWeights(const std::byte* tile, int g) {
    if constexpr (F.nested) {
      const __m128i bytes = load_rows(tile + Layout::kGroupScale + kPanelRows * g);
      __m512i scale = F.signed_scales ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
      __m512i min = _mm512_srli_epi32(scale, 4);
      if constexpr (F.nibble_scales) scale = _mm512_and_si512(scale, _mm512_set1_epi32(15));
      if constexpr (Layout::kSeparateMins)
        min = _mm512_cvtepu8_epi32(load_rows(tile + Layout::kGroupMin + kPanelRows * g));
      step = _mm512_mul_ps(load_half_rows(tile + Layout::kScale), _mm512_cvtepi32_ps(scale));
      if constexpr (F.mins)
        low = _mm512_mul_ps(negative(load_half_rows(tile + Layout::kMin)), _mm512_cvtepi32_ps(min));
    } else if constexpr (F.zeros) {
      step = _mm512_loadu_ps(tile + Layout::kScale + 4 * kPanelRows * g);
      zero = _mm512_cvtepi32_ps(
          _mm512_cvtepu8_epi32(load_rows(tile + Layout::kZero + kPanelRows * g)));
    } else {
      step = load_half_rows(tile + Layout::kScale + 2 * kPanelRows * g);
      if constexpr (F.mins) low = load_half_rows(tile + Layout::kMin + 2 * kPanelRows * g);
    }
    if constexpr (!F.mins && !F.zeros)
      low = _mm512_mul_ps(step, _mm512_set1_ps(-static_cast<float>(F.zero)));
  }

  static __m512 negative(__m512 v) { return _mm512_xor_ps(v, _mm512_set1_ps(-0.0f)); }

  /// Column kColumn of a unit.
  template <int kColumn>
  __m512 column(__m512i unit) const {
    constexpr int kAlone = static_cast<int>(0x80808000u) + kColumn;  // the other three bytes are 0
    const __m512i place = _mm512_set4_epi32(kAlone + 12, kAlone + 8, kAlone + 4, kAlone);
    return value(_mm512_cvtepi32_ps(_mm512_shuffle_epi8(unit, place)));
  }

  __m512 value(__m512 code) const {
    if constexpr (F.zeros) return _mm512_mul_ps(_mm512_sub_ps(code, zero), step);
    return _mm512_fmadd_ps(code, step, low);
  }
};

}  // namespace
}  // namespace lq::kernels
