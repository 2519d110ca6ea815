#pragma once
// IQ2_XS: 256 values as 32 points of a grid of 512 and their signs; 16 scales of 4 bits; 2.3125
// bits a value.
#include <cstdint>

#include "kernels/blocks/grid_fit.h"
#include "kernels/blocks/grid_points.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ2_XS {
  static constexpr int kValues = 256;
  static constexpr int kGroup = 16;  ///< values under one scale
  std::uint16_t scale;               ///< binary16; value = two_bit_step() * magnitude, with sign
  std::uint16_t code[32];            ///< of 8 values: point in the low 9 bits, even_signs() above
  std::uint8_t group_scale[8];       ///< paired_nibble()
};
static_assert(sizeof(BlockIQ2_XS) == 74, "IQ2_XS is stored on disk: layout is fixed");

LQ_HD void decode(const BlockIQ2_XS& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < 32; ++j) {
    const float step = two_bit_step(scale, paired_nibble(b.group_scale, j / 2));
    const int signs = even_signs(b.code[j] >> 9);
    decode_two_bit_point(iq2_xs_point(b.code[j] & 511), signs, step, out + 8 * j);
  }
}

/// Without importance as if all columns mattered alike; the format's reference demands importance.
template <class Search>
static inline void encode_with(Search, const float* x, const Importance& hints, BlockIQ2_XS& b) {
  const Grid<8>& grid = iq2_xs_grid();
  GridProblem<8, BlockIQ2_XS::kGroup> p;
  GridFit<8, BlockIQ2_XS::kGroup> fit;
  float weight[256];
  const float mean_square = sum_of_squares(x, 256) / 256;
  for (int i = 0; i < 256; ++i)
    weight[i] = (hints.weight ? hints.weight[i] : 1) * sqrtf(mean_square + x[i] * x[i]);
  describe_grid_problem<true>(x, weight, p);
  start_from_peaks<Grid<8>>(p, kTinyGroup, fit);
  search_grid<Search, Refine::kOffGrid>(p, grid, {9, 0.1f}, p.peak, fit);
  finish_groups(p, fit);
  std::uint8_t scale_code[16];
  const GridUnit unit = quantize_grid_scales<16>(fit.scale, scale_code);
  b.scale = float_to_half(unit.value);
  for (int j = 0; j < 32; ++j) {
    const int code = grid.index[chosen_point(fit, j)] | ((p.sign[j] & 127) << 9);
    b.code[j] = static_cast<std::uint16_t>(unit.any ? code : 0);
  }
  store_scale_pairs<16>(scale_code, b.group_scale);
}
static inline void encode(const float* x, const Importance& hints, BlockIQ2_XS& b) {
  encode_with(PlainSearch{}, x, hints, b);
}

LQ_HD bool valid(const BlockIQ2_XS& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
