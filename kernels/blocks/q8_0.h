#pragma once
// Q8_0: 32 signed 8-bit codes under one half-precision scale; 8.5 bits a value.
#include <cmath>
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/half.h"

namespace lq::kernels {

struct BlockQ8_0 {
  static constexpr int kValues = 32;
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
  float peak = 0;
  for (int i = 0; i < BlockQ8_0::kValues; ++i) peak = fmaxf(peak, fabsf(x[i]));
  const float scale = peak / 127;
  const float inverse = scale != 0 ? 1 / scale : 0;
  b.scale = float_to_half(scale);
  for (int i = 0; i < BlockQ8_0::kValues; ++i)
    b.code[i] = static_cast<std::int8_t>(roundf(x[i] * inverse));
}

}  // namespace lq::kernels
