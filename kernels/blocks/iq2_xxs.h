#pragma once
// IQ2_XXS: 256 values as 32 points of a grid of 256 and their signs; 8 scales of 4 bits; 2.0625
// bits a value.
#include <cstdint>

#include "kernels/blocks/grid_fit.h"
#include "kernels/blocks/grid_points.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ2_XXS {
  static constexpr int kValues = 256;
  static constexpr int kGroup = 32;  ///< values under one scale
  struct Group {
    std::uint8_t point[4];       ///< of 8 values each
    std::uint8_t sign_scale[4];  ///< low byte first: 4 times 7 bits for even_signs(), 4 of scale
  };
  std::uint16_t scale;  ///< binary16; value = two_bit_step() * magnitude, with sign
  Group group[8];
};
static_assert(sizeof(BlockIQ2_XXS) == 66, "IQ2_XXS is stored on disk: layout is fixed");

LQ_HD void decode(const BlockIQ2_XXS& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < 32; ++j) {
    const auto& group = b.group[j / 4];
    const std::uint32_t word = load_word(group.sign_scale);
    const float step = two_bit_step(scale, static_cast<int>(word >> 28));
    const int signs = even_signs((word >> (7 * (j % 4))) & 127);
    decode_two_bit_point(iq2_xxs_point(group.point[j % 4]), signs, step, out + 8 * j);
  }
}

/// Starts each group from codes 0..4 without a grid. Returns the magnitudes of code 3.
template <class Problem, class Fit>
static inline void start_from_codes(const Problem& p, const float* weight, float* span, Fit& fit) {
  for (int g = 0; g < Problem::kGroups; ++g) {
    std::uint8_t code[Problem::kGroup];
    const int at = Problem::kGroup * g;
    fit.scale[g] = 0;
    if (!(p.peak[g] < kTinyGroup))
      fit.scale[g] = search_positive<Problem::kGroup, 4>(p.x + at, weight + at, code);
    span[g] = fit.scale[g] * 3;
    fit.active[g] = span[g] > 0;
  }
}

/// Without importance as if all columns mattered alike; the format's reference demands importance.
template <class Search>
static inline void encode_with(Search, const float* x, const Importance& hints, BlockIQ2_XXS& b) {
  const Grid<8>& grid = iq2_xxs_grid();
  GridProblem<8, BlockIQ2_XXS::kGroup> p;
  GridFit<8, BlockIQ2_XXS::kGroup> fit;
  float weight[256], span[8];
  const float mean_square = sum_of_squares(x, 256) / 256;
  for (int i = 0; i < 256; ++i)
    weight[i] = (hints.weight ? hints.weight[i] : 1) * sqrtf(mean_square + x[i] * x[i]);
  describe_grid_problem<true>(x, weight, p);
  start_from_codes(p, weight, span, fit);
  search_grid<Search, Refine::kAlways>(p, grid, {6, 0.1f}, span, fit);
  finish_groups(p, fit);
  std::uint8_t scale_code[8];
  const GridUnit unit = quantize_grid_scales<8>(fit.scale, scale_code);
  b.scale = float_to_half(unit.value);
  for (int g = 0; g < 8; ++g) {
    std::uint32_t word = static_cast<std::uint32_t>(scale_code[g]) << 28;
    for (int k = 0; k < 4; ++k) {
      const int point = unit.any ? grid.index[chosen_point(fit, 4 * g + k)] : 0;
      const int sign = unit.any ? p.sign[4 * g + k] & 127 : 0;
      b.group[g].point[k] = static_cast<std::uint8_t>(point);
      word |= static_cast<std::uint32_t>(sign) << (7 * k);
    }
    store_word(word, b.group[g].sign_scale);
  }
}
static inline void encode(const float* x, const Importance& hints, BlockIQ2_XXS& b) {
  encode_with(PlainSearch{}, x, hints, b);
}

LQ_HD bool valid(const BlockIQ2_XXS& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
