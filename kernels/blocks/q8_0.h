#pragma once
// Q8_0: 32 signed 8-bit codes under one half-precision scale; 8.5 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ8_0 {
  static constexpr int kValues = 32;
  static constexpr PanelForm kPanel{.low_bits = 8, .group = 32, .zero = 128};
  std::uint16_t scale;   ///< binary16; value[i] = scale * code[i]
  std::int8_t code[32];  ///< in [-127, 127]
};
static_assert(sizeof(BlockQ8_0) == 34, "Q8_0 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ8_0& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int i = 0; i < BlockQ8_0::kValues; ++i) out[i] = static_cast<float>(b.code[i]) * scale;
}

/// Importance is unused: rounding to the scale of the largest magnitude leaves no choice. The codes
/// are made with the scale before it is rounded to binary16.
LQ_HD void encode(const float* x, const Importance&, BlockQ8_0& b) {
  const float scale = fabsf(peak_value(x, BlockQ8_0::kValues)) / 127;
  const float inverse = scale != 0 ? 1 / scale : 0;
  b.scale = float_to_half(scale);
  for (int i = 0; i < BlockQ8_0::kValues; ++i)
    b.code[i] = static_cast<std::int8_t>(round_away(x[i] * inverse) & 0xff);
}

LQ_HD void take_apart(const BlockQ8_0& b, FlatParts& out) {
  out.scale = b.scale;
  for (int i = 0; i < BlockQ8_0::kValues; ++i)
    out.code[i] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(b.code[i]) ^ 128);
}

LQ_HD bool valid(const BlockQ8_0& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
