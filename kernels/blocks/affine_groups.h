#pragma once
// What Q4_K and Q5_K share: 8 groups of 32 codes, each with a 6-bit scale and minimum.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

/// Value = scale * group scale * code - min * group minimum.
struct [[gnu::packed]] AffineGroups {
  static constexpr int kGroup = 32;  ///< values under one scale and minimum
  static constexpr int kGroups = 8;
  std::uint16_t scale;      ///< binary16
  std::uint16_t min;        ///< binary16
  std::uint8_t packed[12];  ///< scales and minimums of the groups: group_scale(), group_min()
};

/// 6 bits each. Bytes 0..3: scales 0..3, bytes 4..7: minimums 0..3; their upper 2 bits are those of
/// groups 4..7, whose lower 4 bits are in bytes 8..11, scale in the low nibble.
LQ_HD int group_scale(const AffineGroups& g, int j) {
  return j < 4 ? g.packed[j] & 63 : (g.packed[j + 4] & 15) | ((g.packed[j - 4] >> 6) << 4);
}
LQ_HD int group_min(const AffineGroups& g, int j) {
  return j < 4 ? g.packed[j + 4] & 63 : (g.packed[j + 4] >> 4) | ((g.packed[j] >> 6) << 4);
}
/// All but the codes.
LQ_HD void take_apart(const AffineGroups& g, NestedParts& out) {
  out.scale = g.scale;
  out.min = g.min;
  for (int j = 0; j < AffineGroups::kGroups; ++j) {
    out.group_scale[j] = static_cast<std::int8_t>(group_scale(g, j));
    out.group_min[j] = static_cast<std::uint8_t>(group_min(g, j));
  }
}
/// kMax: the largest code of the type. Changes `scale` and `min` where the type clamps them.
template <int kMax>
LQ_HD void store_groups(std::uint8_t* scale, std::uint8_t* min, AffineGroups& g) {
  if (kMax == 31) {  // codes that wrapped in the search: only Q5_K clamps them
    for (int j = 0; j < AffineGroups::kGroups; ++j) {
      if (scale[j] > 63) scale[j] = 63;
      if (min[j] > 63) min[j] = 63;
    }
  }
  for (int j = 0; j < 4; ++j) {
    g.packed[j] = static_cast<std::uint8_t>((scale[j] | ((scale[j + 4] >> 4) << 6)) & 0xff);
    g.packed[j + 4] = static_cast<std::uint8_t>((min[j] | ((min[j + 4] >> 4) << 6)) & 0xff);
    g.packed[j + 8] = static_cast<std::uint8_t>((scale[j + 4] & 15) | ((min[j + 4] & 15) << 4));
  }
}

/// Stores 8 values that are not negative as 6-bit multiples of a common unit. Returns the unit.
LQ_HD float quantize_to_6_bits(const float* x, std::uint8_t* code) {
  const float largest = largest_or_zero(x, AffineGroups::kGroups);
  const float inverse = largest > 0 ? 63 / largest : 0;
  for (int j = 0; j < AffineGroups::kGroups; ++j) {
    const auto l = static_cast<std::uint8_t>(round_even(inverse * x[j]));
    code[j] = l < 63 ? l : 63;
  }
  return largest / 63;
}

/// Weights without an importance matrix: root mean square of the group, plus the magnitude. x,
/// weight: [N][G].
template <int N, int G>
LQ_HD void weights_by_magnitude(const float* x, float* weight) {
  float sum[G] = {};
  for (int i = 0; i < N; ++i)
    for (int g = 0; g < G; ++g) sum[g] += x[i * G + g] * x[i * G + g];
  for (int g = 0; g < G; ++g) sum[g] = sqrtf(sum[g] / N);
  for (int i = 0; i < N; ++i)
    for (int g = 0; g < G; ++g) weight[i * G + g] = sum[g] + fabsf(x[i * G + g]);
}

/// Fits every group, then scales and minimums of the groups.
template <int kMax>
LQ_HD void fit_groups(const float* x, const Importance& hints, const AffineCandidates& plain,
                      AffineGroups& g, std::uint8_t* code) {
  constexpr int n = AffineGroups::kGroup, groups = AffineGroups::kGroups;
  AffineProblem<n, groups> problem;
  float total[groups];
  lay_side_by_side<n, groups>(x, problem.x);
  if (hints.weight) {
    float importance[n * groups];
    lay_side_by_side<n, groups>(hints.weight, importance);
    const float mean_square = 2 * sum_of_squares(x, n * groups) / (n * groups);
    importance_weights<n, groups>(problem.x, importance, mean_square, problem.weight, total);
  } else {
    weights_by_magnitude<n, groups>(problem.x, problem.weight);
  }
  const auto fits =
      search_affine<kMax>(problem, hints.weight ? importance_candidates() : plain, code);
  std::uint8_t scale_code[groups], min_code[groups];
  if (hints.weight) {
    g.scale = float_to_half(search_positive<groups, 63>(fits.scale, total, scale_code));
    g.min = float_to_half(search_positive<groups, 63>(fits.min, total, min_code));
  } else {
    g.scale = float_to_half(quantize_to_6_bits(fits.scale, scale_code));
    g.min = float_to_half(quantize_to_6_bits(fits.min, min_code));
  }
  store_groups<kMax>(scale_code, min_code, g);
}

/// Chooses scales and minimums for 256 values, then the codes in [0, kMax] that are nearest under
/// the scales as they are stored. `plain`: candidates without an importance matrix.
template <int kMax>
LQ_HD void encode_groups(const float* x, const Importance& hints, const AffineCandidates& plain,
                         AffineGroups& g, std::uint8_t* code) {
  fit_groups<kMax>(x, hints, plain, g, code);
  const float scale = half_to_float(g.scale), min = half_to_float(g.min);
  for (int j = 0; j < AffineGroups::kGroups; ++j) {
    const float step = scale * static_cast<float>(group_scale(g, j));
    if (step == 0) continue;
    const float low = min * static_cast<float>(group_min(g, j));
    for (int i = AffineGroups::kGroup * j; i < AffineGroups::kGroup * (j + 1); ++i)
      code[i] = static_cast<std::uint8_t>(clamp_int(round_even((x[i] + low) / step), 0, kMax));
  }
}

/// The low 4 bits of 256 codes: byte 32 c + l holds those of the codes 64 c + l and 64 c + 32 + l.
LQ_HD void store_nibble_pairs(const std::uint8_t* code, std::uint8_t* packed) {
  for (int i = 0; i < 128; ++i) {
    const std::uint8_t* c = code + 64 * (i / 32) + i % 32;
    packed[i] = static_cast<std::uint8_t>((c[0] & 15) | ((c[32] & 15) << 4));
  }
}
/// Group j's nibble l of 32.
LQ_HD int nibble_of_group(const std::uint8_t* packed, int j, int l) {
  const int byte = packed[32 * (j / 2) + l];
  return j % 2 ? byte >> 4 : byte & 15;
}

LQ_HD bool valid(const AffineGroups& g) { return half_is_finite(g.scale) && half_is_finite(g.min); }

}  // namespace lq::kernels
