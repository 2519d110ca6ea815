#pragma once
// IQ3_XXS: 256 values as 64 points of a grid of 256 and their signs; 8 scales of 4 bits; 3.0625
// bits a value.
#include <cstdint>

#include "kernels/blocks/grid_fit.h"
#include "kernels/blocks/grid_points.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ3_XXS {
  static constexpr int kValues = 256;
  static constexpr int kGroup = 32;  ///< values under one scale
  std::uint16_t scale;     ///< binary16; value = scale * (s + 0.5) / 2 * magnitude, with sign
  std::uint8_t point[64];  ///< of 4 values each
  std::uint8_t sign_scale[8][4];  ///< of a group, low byte first: 4 times even_signs(), then s
};
static_assert(sizeof(BlockIQ3_XXS) == 98, "IQ3_XXS is stored on disk: layout is fixed");

LQ_HD void decode(const BlockIQ3_XXS& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < 32; ++j) {
    const std::uint32_t word = load_word(b.sign_scale[j / 4]);
    const float step = scale * (0.5f + static_cast<float>(word >> 28)) * 0.5f;
    const int signs = even_signs((word >> (7 * (j % 4))) & 127);
    decode_three_bit_point(iq3_xxs_point(b.point[2 * j]), signs, step, out + 8 * j);
    decode_three_bit_point(iq3_xxs_point(b.point[2 * j + 1]), signs >> 4, step, out + 8 * j + 4);
  }
}

template <class Search>
static inline void encode_with(Search, const float* x, const Importance& hints, BlockIQ3_XXS& b) {
  const Grid<4>& grid = iq3_xxs_grid();
  GridProblem<4, BlockIQ3_XXS::kGroup> p;
  GridFit<4, BlockIQ3_XXS::kGroup> fit;
  float weight[256];
  const float mean_square = 2 * sum_of_squares(x, 256) / 256;
  for (int i = 0; i < 256; ++i)
    weight[i] = hints.weight ? hints.weight[i] * sqrtf(mean_square + x[i] * x[i]) : x[i] * x[i];
  describe_grid_problem<true>(x, weight, p);
  start_from_peaks<Grid<4>>(p, 1e-8f, fit);
  search_grid<Search, Refine::kOffGrid>(p, grid, {15, 0.2f}, p.peak, fit);
  finish_groups(p, fit);
  std::uint8_t scale_code[8];
  const GridUnit unit = quantize_grid_scales<8>(fit.scale, scale_code);
  b.scale = float_to_half(unit.value * 1.0125f);
  for (int j = 0; j < 64; ++j)
    b.point[j] = static_cast<std::uint8_t>(unit.any ? grid.index[chosen_point(fit, j)] : 0);
  for (int g = 0; g < 8; ++g) {
    std::uint32_t word = static_cast<std::uint32_t>(scale_code[g]) << 28;
    for (int k = 0; k < 4; ++k) word |= (unit.any ? p.sign[4 * g + k] & 127u : 0u) << (7 * k);
    store_word(word, b.sign_scale[g]);
  }
}
static inline void encode(const float* x, const Importance& hints, BlockIQ3_XXS& b) {
  encode_with(PlainSearch{}, x, hints, b);
}

LQ_HD bool valid(const BlockIQ3_XXS& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
