#pragma once
// Q3_K: 256 signed 3-bit codes in 16 groups, each with a signed 6-bit scale; 3.4375 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"
#include "kernels/blocks/two_bits.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ3_K {
  static constexpr int kValues = 256;
  static constexpr PanelForm kPanel{
      .low_bits = 2, .high_bits = 1, .group = 16, .zero = 4, .nested = true, .signed_scales = true};
  static constexpr int kGroup = 16;  ///< values under one scale
  static constexpr int kGroups = 16;
  std::uint8_t high[32];         ///< bit i / 32 of high[i % 32]: bit 2 of code i
  std::uint8_t code[64];         ///< two_bits.h: the low bits
  std::uint8_t group_scale[12];  ///< group_scale() below
  std::uint16_t scale;           ///< binary16; value = scale * (group scale - 32) * (code - 4)
};
static_assert(sizeof(BlockQ3_K) == 110, "Q3_K is stored on disk: layout is fixed");

/// The 6-bit scale of group j. Bytes 0..7 hold the low 4 bits (groups j and j + 8), bytes 8..11 the
/// high 2 bits (groups j, j + 4, j + 8, j + 12).
LQ_HD int group_scale(const BlockQ3_K& b, int j) {
  const int low = j < 8 ? b.group_scale[j] & 15 : b.group_scale[j - 8] >> 4;
  return low | (((b.group_scale[8 + j % 4] >> (2 * (j / 4))) & 3) << 4);
}
LQ_HD void store_group_scales(const std::uint8_t* code, BlockQ3_K& b) {
  for (int j = 0; j < 8; ++j)
    b.group_scale[j] = static_cast<std::uint8_t>((code[j] & 15) | ((code[j + 8] & 15) << 4));
  for (int j = 0; j < 4; ++j) {
    int bits = 0;
    for (int t = 0; t < 4; ++t) bits |= (code[j + 4 * t] >> 4) << (2 * t);
    b.group_scale[8 + j] = static_cast<std::uint8_t>(bits & 0xff);
  }
}

LQ_HD void decode(const BlockQ3_K& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < BlockQ3_K::kGroups; ++j) {
    const float step = scale * static_cast<float>(group_scale(b, j) - 32);
    for (int i = BlockQ3_K::kGroup * j; i < BlockQ3_K::kGroup * (j + 1); ++i) {
      const int high = (b.high[i % 32] >> (i / 32)) & 1;
      out[i] = step * static_cast<float>(two_bits(b.code, i) - (high ? 0 : 4));
    }
  }
}

/// `code`: 256 codes below 8; keeps their low bits.
LQ_HD void store_codes(std::uint8_t* code, BlockQ3_K& b) {
  for (int j = 0; j < 32; ++j) {
    int bits = 0;
    for (int t = 0; t < 8; ++t) bits |= (code[32 * t + j] >> 2) << t;
    b.high[j] = static_cast<std::uint8_t>(bits);
  }
  for (int i = 0; i < BlockQ3_K::kValues; ++i) code[i] &= 3;
  store_two_bits(code, b.code);
}

/// Stores the scales of the groups as 6-bit multiples of the one with the largest magnitude.
LQ_HD void quantize_group_scales(const float* scale, BlockQ3_K& b) {
  std::uint8_t code[BlockQ3_K::kGroups] = {};
  b.scale = 0;
  const float peak = peak_value(scale, BlockQ3_K::kGroups);
  if (peak != 0) {
    const float inverse = -32 / peak;
    for (int j = 0; j < BlockQ3_K::kGroups; ++j)
      code[j] = static_cast<std::uint8_t>(clamp_int(round_even(inverse * scale[j]), -32, 31) + 32);
    b.scale = float_to_half(1 / inverse);
  }
  store_group_scales(code, b);
}

/// Fits every group, then the scales of the groups.
LQ_HD void fit_groups(const float* x, const Importance& hints, BlockQ3_K& b, std::uint8_t* code) {
  constexpr int n = BlockQ3_K::kGroup, groups = BlockQ3_K::kGroups;
  float scale[groups];
  if (!hints.weight) {
    for (int j = 0; j < groups; ++j) scale[j] = search_signed_greedy<n, 4>(x + n * j, code + n * j);
    quantize_group_scales(scale, b);
    return;
  }
  float beside[n * groups], importance[n * groups], weight[n * groups], total[groups];
  lay_side_by_side<n, groups>(x, beside);
  lay_side_by_side<n, groups>(hints.weight, importance);
  const float mean_square = 2 * sum_of_squares(x, n * groups) / (n * groups);
  importance_weights<n, groups>(beside, importance, mean_square, weight, total);
  search_signed<n, groups, 4>(beside, weight, scale, code);
  std::uint8_t scale_code[groups];
  float unit;
  search_signed<groups, 1, 32>(scale, total, &unit, scale_code);
  b.scale = float_to_half(unit);
  store_group_scales(scale_code, b);
}

LQ_HD void encode(const float* x, const Importance& hints, BlockQ3_K& b) {
  std::uint8_t code[BlockQ3_K::kValues];
  fit_groups(x, hints, b, code);
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < BlockQ3_K::kGroups; ++j) {
    const float step = scale * static_cast<float>(group_scale(b, j) - 32);
    if (step == 0) continue;
    for (int i = BlockQ3_K::kGroup * j; i < BlockQ3_K::kGroup * (j + 1); ++i)
      code[i] = static_cast<std::uint8_t>(clamp_int(round_even(x[i] / step), -4, 3) + 4);
  }
  store_codes(code, b);
}

LQ_HD void take_apart(const BlockQ3_K& b, NestedParts& out) {
  out.scale = b.scale;
  for (int j = 0; j < BlockQ3_K::kGroups; ++j)
    out.group_scale[j] = static_cast<std::int8_t>(group_scale(b, j) - 32);
  for (int t = 0; t < 8; ++t)
    for (int l = 0; l < 32; ++l)
      out.code[32 * t + l] =
          static_cast<std::uint8_t>(two_bits(b.code, 32 * t + l) | (((b.high[l] >> t) & 1) << 2));
}

LQ_HD bool valid(const BlockQ3_K& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
