#pragma once
// Q4_1: 32 unsigned 4-bit codes with a half-precision scale and minimum; 5 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/nibbles.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ4_1 {
  static constexpr int kValues = 32;
  static constexpr PanelForm kPanel{.low_bits = 4, .group = 32, .mins = true};
  std::uint16_t scale;    ///< binary16; value[i] = code[i] * scale + low
  std::uint16_t low;      ///< binary16
  std::uint8_t code[16];  ///< code[j]: value j in the low nibble, value j + 16 in the high one
};
static_assert(sizeof(BlockQ4_1) == 20, "Q4_1 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ4_1& b, float* out) {
  const float scale = half_to_float(b.scale), low = half_to_float(b.low);
  for (int i = 0; i < BlockQ4_1::kValues; ++i)
    out[i] = static_cast<float>(nibble(b.code, i)) * scale + low;
}

LQ_HD void store_codes(const std::uint8_t* code, BlockQ4_1& b) { store_nibbles(code, b.code); }

LQ_HD void encode(const float* x, const Importance& hints, BlockQ4_1& b) {
  constexpr int n = BlockQ4_1::kValues;
  std::uint8_t code[n];
  Range range;
  if (hints.weight) {
    range = fit_range_by_importance<n, 15>(x, hints, code);
  } else {
    range = full_range<n, 15>(x);
    const float inverse = range.scale != 0 ? 1 / range.scale : 0;
    for (int i = 0; i < n; ++i) {
      const int rounded = truncate_int8((x[i] - range.low) * inverse + 0.5f);
      code[i] = static_cast<std::uint8_t>(rounded < 15 ? rounded : 15);
    }
  }
  b.scale = float_to_half(range.scale);
  b.low = float_to_half(range.low);
  store_codes(code, b);
}

LQ_HD void take_apart(const BlockQ4_1& b, FlatParts& out) {
  out.scale = b.scale;
  out.low = b.low;
  for (int i = 0; i < BlockQ4_1::kValues; ++i)
    out.code[i] = static_cast<std::uint8_t>(nibble(b.code, i));
}

LQ_HD bool valid(const BlockQ4_1& b) { return half_is_finite(b.scale) && half_is_finite(b.low); }

}  // namespace lq::kernels
