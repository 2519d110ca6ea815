#pragma once
// IQ4_XS: 256 4-bit codes of unevenly spaced values in 8 groups, each with a signed 6-bit scale;
// 4.25 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/iq4_values.h"
#include "kernels/blocks/nibbles.h"
#include "kernels/blocks/panel_form.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ4_XS {
  static constexpr int kValues = 256;
  static constexpr int kGroup = 32;  ///< values under one scale
  static constexpr int kGroups = 8;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::table16, .group = kGroup};
  static constexpr float code_value(std::uint8_t code) { return iq4_value(code); }
  std::uint16_t scale;        ///< binary16; value = scale * (group scale - 32) * iq4_value(code)
  std::uint16_t scale_high;   ///< bits 2 j and 2 j + 1: the high bits of the scale of group j
  std::uint8_t scale_low[4];  ///< the low 4 bits of groups 2 j (low nibble) and 2 j + 1
  std::uint8_t code[128];     ///< 16 bytes a group, packed as in nibbles.h
};
static_assert(sizeof(BlockIQ4_XS) == 136, "IQ4_XS is stored on disk: layout is fixed");

/// The 6-bit scale of group j.
LQ_HD int group_scale(const BlockIQ4_XS& b, int j) {
  return ((b.scale_low[j / 2] >> (4 * (j % 2))) & 15) | (((b.scale_high >> (2 * j)) & 3) << 4);
}
LQ_HD void store_group_scales(const int* scale, BlockIQ4_XS& b) {
  int high = 0;
  for (int j = 0; j < BlockIQ4_XS::kGroups; ++j) high |= (scale[j] >> 4) << (2 * j);
  b.scale_high = static_cast<std::uint16_t>(high);
  for (int j = 0; j < 4; ++j)
    b.scale_low[j] =
        static_cast<std::uint8_t>((scale[2 * j] & 15) | ((scale[2 * j + 1] & 15) << 4));
}

LQ_HD void decode(const BlockIQ4_XS& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < BlockIQ4_XS::kGroups; ++j) {
    const float step = scale * static_cast<float>(group_scale(b, j) - 32);
    for (int i = 0; i < BlockIQ4_XS::kGroup; ++i)
      out[BlockIQ4_XS::kGroup * j + i] = step * iq4_value(nibble(b.code + 16 * j, i));
  }
}

/// The codes are made with the scale before it is rounded to binary16.
LQ_HD void encode(const float* x, const Importance& hints, BlockIQ4_XS& b) {
  constexpr int n = BlockIQ4_XS::kGroup, groups = BlockIQ4_XS::kGroups;
  float weight[BlockIQ4_XS::kValues], scales[groups];
  int group_scales[groups];
  iq4_weights<BlockIQ4_XS::kValues>(x, hints.weight, weight);
  for (int j = 0; j < groups; ++j) scales[j] = search_iq4(x + n * j, weight + n * j);
  const float scale = -peak_value(scales, groups) / 32;
  const float inverse = scale != 0 ? 1 / scale : 0;
  for (int j = 0; j < groups; ++j) {
    const int level = clamp_int(round_even(inverse * scales[j]), -32, 31);
    const float step = scale * static_cast<float>(level);
    store_iq4_codes(x + n * j, step != 0 ? 1 / step : 0, b.code + 16 * j);
    group_scales[j] = level + 32;
  }
  b.scale = float_to_half(scale);
  store_group_scales(group_scales, b);
}

LQ_HD void take_scales(const BlockIQ4_XS& b, float* scale) {
  const float unit = half_to_float(b.scale);
  for (int j = 0; j < BlockIQ4_XS::kGroups; ++j)
    scale[j] = unit * static_cast<float>(group_scale(b, j) - 32);
}
LQ_HD void take_codes(const BlockIQ4_XS& b, std::uint8_t* code) {
  for (int j = 0; j < BlockIQ4_XS::kGroups; ++j)
    take_nibbles(b.code + 16 * j, code + BlockIQ4_XS::kGroup * j);
}

LQ_HD bool valid(const BlockIQ4_XS& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
