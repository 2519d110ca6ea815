#pragma once
// FP4_16: 4-bit floats (E2M1) under 8-bit ones (E4M3) for 16 values each, over a divisor of the
// whole matrix: what checkpoints call NVFP4. In memory only: GGUF's NVFP4 has no divisor.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/small_floats.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockFP4_16 {
  static constexpr int kValues = 64;
  static constexpr int kGroup = 16, kGroups = 4;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::table16, .group = kGroup};
  static constexpr float code_value(std::uint8_t code) { return fp4_to_float(code); }
  float divisor;
  std::uint8_t scale[4];  ///< value = fp4_to_float(code) * (e4m3_to_float(scale) / divisor)
  std::uint8_t code[32];  ///< code[j]: value 2 j in the low nibble, value 2 j + 1 in the high one
};

/// What the values of group g are multiplied with.
LQ_HD float group_factor(const BlockFP4_16& b, int g) {
  return e4m3_to_float(b.scale[g]) / b.divisor;
}

LQ_HD void decode(const BlockFP4_16& b, float* out) {
  for (int i = 0; i < BlockFP4_16::kValues; i += 2) {
    const float factor = group_factor(b, i / BlockFP4_16::kGroup);
    out[i] = fp4_to_float(b.code[i / 2] & 15u) * factor;
    out[i + 1] = fp4_to_float(b.code[i / 2] >> 4) * factor;
  }
}

/// Importance is unused: the scales follow from the largest magnitudes.
LQ_HD void encode(const float* x, const Importance&, BlockFP4_16& b) {
  float peak = 0;
  for (int i = 0; i < BlockFP4_16::kValues; ++i) peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
  const float divisor = peak > 1e-30f ? kMostE4M3 * kMostFp4 / peak : 1;
  b.divisor = divisor > 1e-30f ? divisor : 1e-30f;  // not 0, and a number whatever x is
  for (int g = 0; g < BlockFP4_16::kGroups; ++g) {
    const float* const group = x + BlockFP4_16::kGroup * g;
    float largest = 0;
    for (int i = 0; i < BlockFP4_16::kGroup; ++i)
      largest = fabsf(group[i]) > largest ? fabsf(group[i]) : largest;
    b.scale[g] = float_to_e4m3(clamp_magnitude(largest / kMostFp4 * b.divisor, kMostE4M3));
    const float factor = group_factor(b, g);
    const float inverse = factor > 0 ? 1 / factor : 0;
    for (int i = 0; i < BlockFP4_16::kGroup; i += 2) {
      const int low = float_to_fp4(clamp_magnitude(group[i] * inverse, kMostFp4));
      const int high = float_to_fp4(clamp_magnitude(group[i + 1] * inverse, kMostFp4));
      b.code[BlockFP4_16::kGroup / 2 * g + i / 2] = static_cast<std::uint8_t>(low | (high << 4));
    }
  }
}

LQ_HD void take_scales(const BlockFP4_16& b, float* scale) {
  for (int g = 0; g < BlockFP4_16::kGroups; ++g) scale[g] = group_factor(b, g);
}
LQ_HD void take_codes(const BlockFP4_16& b, std::uint8_t* code) {
  for (int i = 0; i < BlockFP4_16::kValues; i += 2) {
    code[i] = b.code[i / 2] & 15;
    code[i + 1] = b.code[i / 2] >> 4;
  }
}

LQ_HD bool valid(const BlockFP4_16& b) {
  bool finite = true;
  for (int i = 0; i < BlockFP4_16::kValues; ++i) {
    const std::uint32_t code = i % 2 == 0 ? b.code[i / 2] & 15u : b.code[i / 2] >> 4;
    finite = finite && float_is_finite(fp4_to_float(code) * group_factor(b, i / 16));
  }
  return finite;
}

}  // namespace lq::kernels
