#pragma once
// Q4_0: 32 signed 4-bit codes under one half-precision scale; 4.5 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/nibbles.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ4_0 {
  static constexpr int kValues = 32;
  static constexpr PanelForm kPanel{.low_bits = 4, .group = 32, .zero = 8};
  std::uint16_t scale;    ///< binary16; value[i] = (code[i] - 8) * scale
  std::uint8_t code[16];  ///< code[j]: value j in the low nibble, value j + 16 in the high one
};
static_assert(sizeof(BlockQ4_0) == 18, "Q4_0 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ4_0& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int i = 0; i < BlockQ4_0::kValues; ++i)
    out[i] = static_cast<float>(nibble(b.code, i) - 8) * scale;
}

LQ_HD void store_codes(const std::uint8_t* code, BlockQ4_0& b) { store_nibbles(code, b.code); }

LQ_HD void encode(const float* x, const Importance& hints, BlockQ4_0& b) {
  constexpr int n = BlockQ4_0::kValues;
  std::uint8_t code[n];
  float scale;
  if (hints.weight) {
    float weight[n];
    importance_weights<n, 1>(x, hints.weight, hints.row_mean_square, weight, nullptr);
    search_signed<n, 1, 8>(x, weight, &scale, code);
  } else {
    scale = peak_value(x, n) / -8;
    const float inverse = scale != 0 ? 1 / scale : 0;
    for (int i = 0; i < n; ++i) {
      const int rounded = truncate_int8(x[i] * inverse + 8.5f);
      code[i] = static_cast<std::uint8_t>(rounded < 15 ? rounded : 15);
    }
  }
  b.scale = float_to_half(scale);
  store_codes(code, b);
}

LQ_HD void take_apart(const BlockQ4_0& b, FlatParts& out) {
  out.scale = b.scale;
  for (int i = 0; i < BlockQ4_0::kValues; ++i)
    out.code[i] = static_cast<std::uint8_t>(nibble(b.code, i));
}

LQ_HD bool valid(const BlockQ4_0& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
