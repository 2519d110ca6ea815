#pragma once
// MXFP4: 32 floats of 4 bits under a power of two; 4.25 bits a value.
#include <cstdint>

#include "kernels/blocks/fp4_values.h"
#include "kernels/blocks/importance.h"
#include "kernels/blocks/nibbles.h"
#include "kernels/blocks/panel_form.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockMXFP4 {
  static constexpr int kValues = 32;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::table16, .group = 32};
  static constexpr float code_value(std::uint8_t code) { return fp4_twice(code); }
  std::uint8_t exponent;  ///< E8M0: the scale is 2^(exponent - 127), 255 is not a number
  std::uint8_t code[16];  ///< code[j]: value j in the low nibble, value j + 16 in the high one
};
static_assert(sizeof(BlockMXFP4) == 17, "MXFP4 is stored on disk: layout is fixed");

/// Half of the scale, for fp4_twice().
LQ_HD float half_scale(const BlockMXFP4& b) {
  const std::uint32_t exponent = b.exponent;
  return bits_float(exponent < 2 ? 0x200000u << exponent : (exponent - 1) << 23);
}

/// floor(log2(x)) for finite x > 0 as the format's reference computes it: the logarithm is rounded
/// to binary32 first, so values just below a power of two count as that power. They are those whose
/// logarithm is nearer to the whole number k than to the next binary32 below it.
LQ_HD int rounded_log2(float x) {
  const std::uint32_t bits = float_bits(x);
  const bool normal = bits >= 0x800000u;
  const std::uint32_t scaled = float_bits(normal ? x : x * 16777216.0f);  // exact
  const int whole = static_cast<int>(scaled >> 23) - 127 - (normal ? 0 : 24);
  const int next = whole + 1;
  const int magnitude = next > 0 ? whole : -next;  // the binary32 numbers beside `next` are as far
  int reach = 1;                                   // apart as those beside this one
  while (2 * reach <= magnitude) reach *= 2;
  // 2^24 ln 2 times half of that distance, in units of the last place of x.
  const int steps = magnitude > 0 ? static_cast<int>(0.6931472f * static_cast<float>(reach)) : 0;
  const int below = 0x800000 - static_cast<int>(scaled & 0x7fffffu);
  return below <= steps ? next : whole;
}

LQ_HD void decode(const BlockMXFP4& b, float* out) {
  const float scale = half_scale(b);
  for (int i = 0; i < BlockMXFP4::kValues; ++i) out[i] = fp4_twice(nibble(b.code, i)) * scale;
}

/// Importance is unused: the scale follows from the largest magnitude. Of magnitudes below 2^-125
/// the exponent wraps, and the codes are zeros.
LQ_HD void encode(const float* x, const Importance&, BlockMXFP4& b) {
  const float peak = fabsf(peak_value(x, BlockMXFP4::kValues));
  const bool usable = peak > 0 && float_is_finite(peak);
  b.exponent = static_cast<std::uint8_t>(usable ? (rounded_log2(peak) + 125) & 0xff : 0);
  store_fp4_codes<BlockMXFP4::kValues>(x, half_scale(b), b.code);
}

LQ_HD void take_scales(const BlockMXFP4& b, float* scale) { *scale = half_scale(b); }
LQ_HD void take_codes(const BlockMXFP4& b, std::uint8_t* code) { take_nibbles(b.code, code); }

LQ_HD bool valid(const BlockMXFP4& b) {
  bool finite = b.exponent != 255;
  for (int i = 0; i < BlockMXFP4::kValues; ++i)
    finite = finite && float_is_finite(fp4_twice(nibble(b.code, i)) * half_scale(b));
  return finite;
}

}  // namespace lq::kernels
