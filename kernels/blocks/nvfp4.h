#pragma once
// NVFP4: 64 floats of 4 bits in 4 groups, each under a float of 8 bits without sign; 4.5 bits a
// value.
#include <cstdint>

#include "kernels/blocks/fp4_values.h"
#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockNVFP4 {
  static constexpr int kValues = 64;
  static constexpr int kGroup = 16;  ///< values under one scale
  static constexpr int kGroups = 4;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::table16, .group = kGroup};
  static constexpr float code_value(std::uint8_t code) { return fp4_twice(code); }
  std::uint8_t scale[4];  ///< UE4M3, bit 7 unused
  std::uint8_t code[32];  ///< code[8 g + j]: values j (low nibble) and j + 8 of group g
};
static_assert(sizeof(BlockNVFP4) == 36, "NVFP4 is stored on disk: layout is fixed");

/// Half of the scale of group g, for fp4_twice(). 127, not a number, reads as 0.
LQ_HD float half_scale(const BlockNVFP4& b, int g) {
  const std::uint32_t exponent = (b.scale[g] >> 3) & 15, mantissa = b.scale[g] & 7;
  const std::uint32_t whole = exponent > 0 ? mantissa + 8 : mantissa;
  const std::uint32_t power = exponent > 0 ? exponent : 1;
  const float value = static_cast<float>(whole) * bits_float((power + 116) << 23);  // * 2^(p - 11)
  return b.scale[g] == 127 ? 0 : value;
}

/// UE4M3 of x >= 0, halves up; 448 for all that rounds to 256 or more, as in the format's
/// reference; 0 for NaN.
LQ_HD std::uint8_t float_to_ue4m3(float x) {
  if (!(x > 0)) return 0;
  if (x < 0.015625f) {  // below 2^-6: steps of 2^-9, of which 7 are the most
    const int steps = static_cast<int>(x * 512 + 0.5f);
    return static_cast<std::uint8_t>(steps < 7 ? steps : 7);
  }
  const float bounded = x < 448 ? x : 448;
  const std::uint32_t rounded = float_bits(bounded) + 0x80000u;  // carries into the exponent
  const std::uint32_t code = (rounded - (120u << 23)) >> 20;
  return static_cast<std::uint8_t>(code < 120 ? code : 126);
}

LQ_HD void decode(const BlockNVFP4& b, float* out) {
  for (int g = 0; g < BlockNVFP4::kGroups; ++g) {
    const float scale = half_scale(b, g);
    for (int j = 0; j < 8; ++j) {
      out[16 * g + j] = fp4_twice(b.code[8 * g + j] & 15) * scale;
      out[16 * g + 8 + j] = fp4_twice(b.code[8 * g + j] >> 4) * scale;
    }
  }
}

/// Importance is unused: the scales follow from the largest magnitudes.
LQ_HD void encode(const float* x, const Importance&, BlockNVFP4& b) {
  constexpr int n = BlockNVFP4::kGroup;
  for (int g = 0; g < BlockNVFP4::kGroups; ++g) {
    b.scale[g] = float_to_ue4m3(fabsf(peak_value(x + n * g, n)) / 6);
    store_fp4_codes<n>(x + n * g, half_scale(b, g), b.code + 8 * g);
  }
}

LQ_HD void take_scales(const BlockNVFP4& b, float* scale) {
  for (int g = 0; g < BlockNVFP4::kGroups; ++g) scale[g] = half_scale(b, g);
}
LQ_HD void take_codes(const BlockNVFP4& b, std::uint8_t* code) {
  for (int i = 0; i < BlockNVFP4::kValues; ++i) {
    const std::uint8_t both = b.code[i / 16 * 8 + i % 8];
    code[i] = i % 16 < 8 ? both & 15 : both >> 4;
  }
}

/// Every byte is a number.
LQ_HD bool valid(const BlockNVFP4&) { return true; }

}  // namespace lq::kernels
