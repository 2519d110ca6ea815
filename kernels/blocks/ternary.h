#pragma once
// What TQ1_0 and TQ2_0 share: codes 0, 1, 2 for -1, 0, 1 times the largest magnitude of 256 values.
#include <cstdint>

#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

/// Writes 256 codes; returns the scale. Where the inverse of the scale overflows all codes are 1.
LQ_HD float ternary_codes(const float* x, std::uint8_t* code) {
  const float scale = fabsf(peak_value(x, 256));
  const float inverse = scale != 0 ? 1 / scale : 0;
  for (int i = 0; i < 256; ++i) {
    const float level = x[i] * inverse;
    const int up = level >= 0.5f ? 1 : 0, down = level <= -0.5f ? 1 : 0;
    code[i] = static_cast<std::uint8_t>(float_is_finite(level) ? 1 + up - down : 1);
  }
  return scale;
}

}  // namespace lq::kernels
