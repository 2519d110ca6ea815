#pragma once
// Q1_0: the signs of 128 values under one half-precision scale; 1.125 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/rounding.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ1_0 {
  static constexpr int kValues = 128;
  std::uint16_t scale;    ///< binary16: the mean of the magnitudes
  std::uint8_t code[16];  ///< bit i % 8 of code[i / 8]: value i is scale if set, else -scale
};
static_assert(sizeof(BlockQ1_0) == 18, "Q1_0 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ1_0& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int i = 0; i < BlockQ1_0::kValues; ++i)
    out[i] = (b.code[i / 8] >> (i % 8)) & 1 ? scale : -scale;
}

/// Importance is unused: nothing is searched. 0 and -0 count as positive.
LQ_HD void encode(const float* x, const Importance&, BlockQ1_0& b) {
  float sum = 0;
  for (int i = 0; i < BlockQ1_0::kValues; ++i) sum += fabsf(x[i]);
  b.scale = float_to_half(sum / BlockQ1_0::kValues);
  for (int j = 0; j < 16; ++j) {
    int bits = 0;
    for (int i = 0; i < 8; ++i) bits |= (x[8 * j + i] >= 0 ? 1 : 0) << i;
    b.code[j] = static_cast<std::uint8_t>(bits);
  }
}

LQ_HD bool valid(const BlockQ1_0& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
