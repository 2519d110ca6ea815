#pragma once
// Q2_0: 64 2-bit codes under one half-precision scale; 2.25 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ2_0 {
  static constexpr int kValues = 64;
  std::uint16_t scale;    ///< binary16: the largest magnitude; value[i] = (code[i] - 1) * scale
  std::uint8_t code[16];  ///< bits 2 (i % 4) and up of code[i / 4]: code i
};
static_assert(sizeof(BlockQ2_0) == 18, "Q2_0 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ2_0& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int i = 0; i < BlockQ2_0::kValues; ++i)
    out[i] = static_cast<float>(((b.code[i / 4] >> (2 * (i % 4))) & 3) - 1) * scale;
}

/// Importance is unused: rounding to the scale of the largest magnitude leaves no choice. Where the
/// inverse of the scale overflows all codes are 0.
LQ_HD void encode(const float* x, const Importance&, BlockQ2_0& b) {
  const float scale = fabsf(peak_value(x, BlockQ2_0::kValues));
  const float inverse = scale > 0 ? 1 / scale : 0;
  b.scale = float_to_half(scale);
  int code[BlockQ2_0::kValues];
  for (int i = 0; i < BlockQ2_0::kValues; ++i)
    code[i] = clamp_int(round_away(x[i] * inverse), -1, 2) + 1;
  for (int j = 0; j < 16; ++j) {
    const int* c = code + 4 * j;
    b.code[j] = static_cast<std::uint8_t>(c[0] | (c[1] << 2) | (c[2] << 4) | (c[3] << 6));
  }
}

LQ_HD bool valid(const BlockQ2_0& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
