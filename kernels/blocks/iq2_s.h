#pragma once
// IQ2_S: 256 values as 32 points of a grid of 1024 and their signs; 16 scales of 4 bits; 2.5625
// bits a value.
#include <cstdint>

#include "kernels/blocks/grid_fit.h"
#include "kernels/blocks/grid_points.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ2_S {
  static constexpr int kValues = 256;
  static constexpr int kGroup = 16;  ///< values under one scale
  std::uint16_t scale;               ///< binary16; value = two_bit_step() * magnitude, with sign
  std::uint8_t point_low[32];        ///< of 8 values each
  std::uint8_t sign[32];             ///< of 8 values each, bit set: negative
  std::uint8_t point_high[8];        ///< bits 2k, 2k + 1 of byte j: high bits of point 4j + k
  std::uint8_t group_scale[8];       ///< paired_nibble()
};
static_assert(sizeof(BlockIQ2_S) == 82, "IQ2_S is stored on disk: layout is fixed");

LQ_HD void decode(const BlockIQ2_S& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < 32; ++j) {
    const float step = two_bit_step(scale, paired_nibble(b.group_scale, j / 2));
    const int high = (b.point_high[j / 4] >> (2 * (j % 4))) & 3;
    decode_two_bit_point(iq2_s_point(b.point_low[j] | (high << 8)), b.sign[j], step, out + 8 * j);
  }
}

template <class Search>
static inline void encode_with(Search, const float* x, const Importance& hints, BlockIQ2_S& b) {
  const Grid<8>& grid = iq2_s_grid();
  GridProblem<8, BlockIQ2_S::kGroup> p;
  GridFit<8, BlockIQ2_S::kGroup> fit;
  float weight[256];
  const float mean_square = 2 * sum_of_squares(x, 256) / 256;
  for (int i = 0; i < 256; ++i)
    weight[i] = hints.weight ? hints.weight[i] * sqrtf(mean_square + x[i] * x[i])
                             : 0.25f * mean_square + x[i] * x[i];
  describe_grid_problem<false>(x, weight, p);
  start_from_peaks<Grid<8>>(p, 1e-8f, fit);
  search_grid<Search, Refine::kOffGrid>(p, grid, {9, 0.1f}, p.peak, fit);
  finish_groups(p, fit);
  std::uint8_t scale_code[16];
  b.scale = float_to_half(quantize_grid_scales<16>(fit.scale, scale_code).value * 0.9875f);
  store_scale_pairs<16>(scale_code, b.group_scale);
  for (int j = 0; j < 8; ++j) b.point_high[j] = 0;
  for (int j = 0; j < 32; ++j) {
    const int point = grid.index[chosen_point(fit, j)];
    b.point_low[j] = static_cast<std::uint8_t>(point & 0xff);
    b.point_high[j / 4] |= static_cast<std::uint8_t>((point >> 8) << (2 * (j % 4)));
    b.sign[j] = p.sign[j];
  }
}
static inline void encode(const float* x, const Importance& hints, BlockIQ2_S& b) {
  encode_with(PlainSearch{}, x, hints, b);
}

LQ_HD bool valid(const BlockIQ2_S& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
