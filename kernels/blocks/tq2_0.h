#pragma once
// TQ2_0: 256 2-bit codes of three values under one half-precision scale; 2.0625 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/ternary.h"
#include "kernels/blocks/two_bits.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockTQ2_0 {
  static constexpr int kValues = 256;
  std::uint8_t code[64];  ///< two_bits.h
  std::uint16_t scale;    ///< binary16; value[i] = (code[i] - 1) * scale
};
static_assert(sizeof(BlockTQ2_0) == 66, "TQ2_0 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockTQ2_0& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int i = 0; i < BlockTQ2_0::kValues; ++i)
    out[i] = static_cast<float>(two_bits(b.code, i) - 1) * scale;
}

/// Importance is unused: rounding to the scale of the largest magnitude leaves no choice.
LQ_HD void encode(const float* x, const Importance&, BlockTQ2_0& b) {
  std::uint8_t code[BlockTQ2_0::kValues];
  b.scale = float_to_half(ternary_codes(x, code));
  store_two_bits(code, b.code);
}

LQ_HD bool valid(const BlockTQ2_0& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
