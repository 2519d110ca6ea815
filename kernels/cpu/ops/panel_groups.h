#pragma once
// Groups of weights in a panel, for vectors V of 16 rows: a lane is a row.
#include "kernels/cpu/ops/panel_products_vnni.h"

namespace lq::kernels {
namespace {

/// Step and low of 16 rows for a group of a run.
template <class V, PanelForm F>
struct GroupWeights {
  using Layout = PanelLayout<F>;
  FloatsOf<V> step, low;
  FloatsOf<V> zero;  ///< types whose groups have zeros

  /// Group g of a tile.
  GroupWeights(const std::byte* tile, int g) {
    if constexpr (F.nested) {
      const __m128i bytes = load_16_bytes(tile + Layout::kGroupScale + kPanelRows * g);
      auto scale = F.signed_scales ? V::words_of_signed(bytes) : V::words_of(bytes);
      auto min = V::shift_right_32(scale, 4);
      if constexpr (F.nibble_scales) scale = V::bits_and(scale, V::words(15));
      if constexpr (Layout::kSeparateMins)
        min = V::words_of(load_16_bytes(tile + Layout::kGroupMin + kPanelRows * g));
      step = V::multiply(V::load_halves(tile + Layout::kScale), V::to_floats(scale));
      if constexpr (F.mins)
        low = V::multiply(V::negative(V::load_halves(tile + Layout::kMin)), V::to_floats(min));
    } else if constexpr (F.zeros) {
      step = V::load_floats(tile + Layout::kScale + 4 * kPanelRows * g);
      zero = V::to_floats(V::words_of(load_16_bytes(tile + Layout::kZero + kPanelRows * g)));
    } else {
      step = V::load_halves(tile + Layout::kScale + 2 * kPanelRows * g);
      if constexpr (F.mins) low = V::load_halves(tile + Layout::kMin + 2 * kPanelRows * g);
    }
    if constexpr (!F.mins && !F.zeros)
      low = V::multiply(step, V::floats(-static_cast<float>(F.zero)));
  }

  FloatsOf<V> value(FloatsOf<V> code) const {
    if constexpr (F.zeros) return V::multiply(V::subtract(code, zero), step);
    return V::multiply_add(code, step, low);
  }
};

}  // namespace
}  // namespace lq::kernels
