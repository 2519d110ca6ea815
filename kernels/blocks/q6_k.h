#pragma once
// Q6_K: 256 signed 6-bit codes in 16 groups, each with an 8-bit scale; 6.5625 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ6_K {
  static constexpr int kValues = 256;
  static constexpr PanelForm kPanel{.low_bits = 4,
                                    .high_bits = 2,
                                    .group = 16,
                                    .zero = 32,
                                    .nested = true,
                                    .signed_scales = true};
  static constexpr int kGroup = 16;  ///< values under one scale
  static constexpr int kGroups = 16;
  std::uint8_t low[128];  ///< low 4 bits of the codes: code_of() below
  std::uint8_t high[64];  ///< high 2 bits
  std::int8_t group_scale[16];
  std::uint16_t scale;  ///< binary16; value = scale * group scale * (code - 32)
};
static_assert(sizeof(BlockQ6_K) == 210, "Q6_K is stored on disk: layout is fixed");

/// Code i. In each half c of 128 values, value l + 32 t (t = 0..3) has its low bits in byte
/// 64 c + 32 (t % 2) + l, nibble t / 2, and its high bits in byte 32 c + l, bits 2 t and 2 t + 1.
LQ_HD int code_of(const BlockQ6_K& b, int i) {
  const int c = i / 128, t = i % 128 / 32, l = i % 32;
  const int low = (b.low[64 * c + 32 * (t % 2) + l] >> (4 * (t / 2))) & 15;
  return low | (((b.high[32 * c + l] >> (2 * t)) & 3) << 4);
}
LQ_HD void store_codes(const std::uint8_t* code, BlockQ6_K& b) {
  for (int c = 0; c < 2; ++c) {
    for (int l = 0; l < 32; ++l) {
      const std::uint8_t* q = code + 128 * c + l;
      b.low[64 * c + l] = static_cast<std::uint8_t>((q[0] & 15) | ((q[64] & 15) << 4));
      b.low[64 * c + 32 + l] = static_cast<std::uint8_t>((q[32] & 15) | ((q[96] & 15) << 4));
      b.high[32 * c + l] = static_cast<std::uint8_t>((q[0] >> 4) | ((q[32] >> 4) << 2) |
                                                     ((q[64] >> 4) << 4) | ((q[96] >> 4) << 6));
    }
  }
}

LQ_HD void decode(const BlockQ6_K& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < BlockQ6_K::kGroups; ++j) {
    const float step = scale * static_cast<float>(b.group_scale[j]);
    for (int i = BlockQ6_K::kGroup * j; i < BlockQ6_K::kGroup * (j + 1); ++i)
      out[i] = step * static_cast<float>(code_of(b, i) - 32);
  }
}

/// Stores the scales of the groups as 8-bit multiples of a common unit. False: too small to store,
/// the block is set to zeros.
LQ_HD bool store_group_scales(const float* scales, BlockQ6_K& b) {
  const float peak = peak_value(scales, BlockQ6_K::kGroups);
  if (fabsf(peak) < kTinyGroup) {
    b = BlockQ6_K{};
    return false;
  }
  const float inverse = -128 / peak;
  b.scale = float_to_half(1 / inverse);
  for (int j = 0; j < BlockQ6_K::kGroups; ++j) {
    const int rounded = round_even(inverse * scales[j]);
    b.group_scale[j] = static_cast<std::int8_t>(rounded < 127 ? rounded : 127);
  }
  return true;
}

LQ_HD void encode(const float* x, const Importance& hints, BlockQ6_K& b) {
  constexpr int n = BlockQ6_K::kGroup, groups = BlockQ6_K::kGroups;
  std::uint8_t code[BlockQ6_K::kValues];
  float scales[groups];
  float beside[n * groups], weight[n * groups];
  lay_side_by_side<n, groups>(x, beside);
  if (hints.weight) {
    lay_side_by_side<n, groups>(hints.weight, weight);
  } else {
    for (int i = 0; i < n * groups; ++i) weight[i] = beside[i] * beside[i];
  }
  search_signed<n, groups, 32>(beside, weight, scales, code);
  if (!store_group_scales(scales, b)) return;
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < groups; ++j) {
    const float step = scale * static_cast<float>(b.group_scale[j]);
    if (step == 0) continue;
    for (int i = n * j; i < n * (j + 1); ++i)
      code[i] = static_cast<std::uint8_t>(clamp_int(round_even(x[i] / step), -32, 31) + 32);
  }
  store_codes(code, b);
}

LQ_HD void take_apart(const BlockQ6_K& b, NestedParts& out) {
  out.scale = b.scale;
  for (int j = 0; j < BlockQ6_K::kGroups; ++j) out.group_scale[j] = b.group_scale[j];
  for (int c = 0; c < 2; ++c)
    for (int l = 0; l < 32; ++l) {
      const int even = b.low[64 * c + l], odd = b.low[64 * c + 32 + l], high = b.high[32 * c + l];
      std::uint8_t* const code = out.code + 128 * c + l;
      code[0] = static_cast<std::uint8_t>((even & 15) | ((high & 3) << 4));
      code[32] = static_cast<std::uint8_t>((odd & 15) | ((high & 12) << 2));
      code[64] = static_cast<std::uint8_t>((even >> 4) | (high & 48));
      code[96] = static_cast<std::uint8_t>((odd >> 4) | ((high & 192) >> 2));
    }
}

LQ_HD bool valid(const BlockQ6_K& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
