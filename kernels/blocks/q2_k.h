#pragma once
// Q2_K: 256 2-bit codes in 16 groups, each with a 4-bit scale and minimum; 2.625 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"
#include "kernels/blocks/two_bits.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ2_K {
  static constexpr int kValues = 256;
  static constexpr PanelForm kPanel{
      .low_bits = 2, .group = 16, .nested = true, .mins = true, .nibble_scales = true};
  static constexpr int kGroup = 16;  ///< values under one scale and minimum
  static constexpr int kGroups = 16;
  std::uint8_t scale_min[kGroups];  ///< of a group: scale in the low nibble, minimum in the high
  std::uint8_t code[64];            ///< two_bits.h
  std::uint16_t scale;  ///< binary16; value = scale * group scale * code - min * group minimum
  std::uint16_t min;    ///< binary16
};
static_assert(sizeof(BlockQ2_K) == 84, "Q2_K is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ2_K& b, float* out) {
  const float scale = half_to_float(b.scale), min = half_to_float(b.min);
  for (int j = 0; j < BlockQ2_K::kGroups; ++j) {
    const float group_scale = scale * static_cast<float>(b.scale_min[j] & 15);
    const float group_min = min * static_cast<float>(b.scale_min[j] >> 4);
    for (int i = BlockQ2_K::kGroup * j; i < BlockQ2_K::kGroup * (j + 1); ++i)
      out[i] = group_scale * static_cast<float>(two_bits(b.code, i)) - group_min;
  }
}

LQ_HD void store_groups(const std::uint8_t* scale, const std::uint8_t* min, BlockQ2_K& b) {
  for (int j = 0; j < BlockQ2_K::kGroups; ++j)
    b.scale_min[j] = static_cast<std::uint8_t>((scale[j] | (min[j] << 4)) & 0xff);
}
LQ_HD void store_codes(const std::uint8_t* code, BlockQ2_K& b) { store_two_bits(code, b.code); }

/// Candidates of the search without an importance matrix.
LQ_HD AffineCandidates q2_k_candidates() { return {-0.5f, 0.1f, 15}; }

/// Stores 16 values that are not negative as multiples of a common unit. Returns the unit.
LQ_HD float quantize_to_nibbles(const float* x, std::uint8_t* code) {
  const float largest = largest_or_zero(x, BlockQ2_K::kGroups);
  const float inverse = largest > 0 ? 15 / largest : 0;
  for (int j = 0; j < BlockQ2_K::kGroups; ++j)
    code[j] = largest > 0 ? static_cast<std::uint8_t>(round_even(inverse * x[j])) : 0;
  return largest / 15;
}

/// Fits every group, then scales and minimums of the groups into the block's head.
LQ_HD void fit_groups(const float* x, const Importance& hints, BlockQ2_K& b, std::uint8_t* code) {
  constexpr int n = BlockQ2_K::kGroup, groups = BlockQ2_K::kGroups;
  AffineProblem<n, groups> problem;
  float total[groups];
  lay_side_by_side<n, groups>(x, problem.x);
  AffineFits<groups> fits;
  if (hints.weight) {
    float importance[n * groups];
    lay_side_by_side<n, groups>(hints.weight, importance);
    const float mean_square = sum_of_squares(x, n * groups) / (n * groups);
    importance_weights<n, groups>(problem.x, importance, mean_square, problem.weight, total);
    fits = search_affine<3>(problem, importance_candidates(), code);
  } else {
    for (int i = 0; i < n * groups; ++i) problem.weight[i] = fabsf(problem.x[i]);
    fits = search_affine<3, true>(problem, q2_k_candidates(), code);
  }
  std::uint8_t scale_code[groups], min_code[groups];
  if (hints.weight) {
    b.scale = float_to_half(search_positive<groups, 15>(fits.scale, total, scale_code));
    b.min = float_to_half(search_positive<groups, 15>(fits.min, total, min_code));
  } else {
    b.scale = float_to_half(quantize_to_nibbles(fits.scale, scale_code));
    b.min = float_to_half(quantize_to_nibbles(fits.min, min_code));
  }
  store_groups(scale_code, min_code, b);
}

LQ_HD void encode(const float* x, const Importance& hints, BlockQ2_K& b) {
  std::uint8_t code[BlockQ2_K::kValues];
  fit_groups(x, hints, b, code);
  const float scale = half_to_float(b.scale), min = half_to_float(b.min);
  for (int j = 0; j < BlockQ2_K::kGroups; ++j) {
    const float group_scale = scale * static_cast<float>(b.scale_min[j] & 15);
    if (group_scale == 0) continue;
    const float group_min = min * static_cast<float>(b.scale_min[j] >> 4);
    for (int i = BlockQ2_K::kGroup * j; i < BlockQ2_K::kGroup * (j + 1); ++i)
      code[i] =
          static_cast<std::uint8_t>(clamp_int(round_even((x[i] + group_min) / group_scale), 0, 3));
  }
  store_codes(code, b);
}

LQ_HD void take_apart(const BlockQ2_K& b, NestedParts& out) {
  out.scale = b.scale;
  out.min = b.min;
  for (int j = 0; j < BlockQ2_K::kGroups; ++j) {
    out.group_scale[j] = static_cast<std::int8_t>(b.scale_min[j] & 15);
    out.group_min[j] = b.scale_min[j] >> 4;
  }
  for (int i = 0; i < BlockQ2_K::kValues; ++i)
    out.code[i] = static_cast<std::uint8_t>(two_bits(b.code, i));
}

LQ_HD bool valid(const BlockQ2_K& b) { return half_is_finite(b.scale) && half_is_finite(b.min); }

}  // namespace lq::kernels
