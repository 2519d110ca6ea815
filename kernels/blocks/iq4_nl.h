#pragma once
// IQ4_NL: 32 4-bit codes of unevenly spaced values under one half-precision scale; 4.5 bits a
// value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/iq4_values.h"
#include "kernels/blocks/nibbles.h"
#include "kernels/blocks/panel_form.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ4_NL {
  static constexpr int kValues = 32;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::table16, .group = 32};
  static constexpr float code_value(std::uint8_t code) { return iq4_value(code); }
  std::uint16_t scale;    ///< binary16; value[i] = scale * iq4_value(code[i])
  std::uint8_t code[16];  ///< code[j]: value j in the low nibble, value j + 16 in the high one
};
static_assert(sizeof(BlockIQ4_NL) == 18, "IQ4_NL is stored on disk: layout is fixed");

LQ_HD void decode(const BlockIQ4_NL& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int i = 0; i < BlockIQ4_NL::kValues; ++i) out[i] = scale * iq4_value(nibble(b.code, i));
}

/// The codes are made with the scale before it is rounded to binary16.
LQ_HD void encode(const float* x, const Importance& hints, BlockIQ4_NL& b) {
  float weight[BlockIQ4_NL::kValues];
  iq4_weights<BlockIQ4_NL::kValues>(x, hints.weight, weight);
  const float scale = search_iq4(x, weight);
  b.scale = float_to_half(scale);
  store_iq4_codes(x, scale != 0 ? 1 / scale : 0, b.code);
}

LQ_HD void take_scales(const BlockIQ4_NL& b, float* scale) { *scale = half_to_float(b.scale); }
LQ_HD void take_codes(const BlockIQ4_NL& b, std::uint8_t* code) { take_nibbles(b.code, code); }

LQ_HD bool valid(const BlockIQ4_NL& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
