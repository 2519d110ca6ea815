#pragma once
// IQ3_S: 256 values as 64 points of a grid of 512 and their signs; 8 scales of 4 bits; 3.4375 bits
// a value.
#include <cfloat>
#include <cstdint>

#include "kernels/blocks/grid_fit.h"
#include "kernels/blocks/grid_points.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ3_S {
  static constexpr int kValues = 256;
  static constexpr int kGroup = 32;  ///< values under one scale
  std::uint16_t scale;          ///< binary16; value = scale * (2 s + 1) * odd magnitude, with sign
  std::uint8_t point_low[64];   ///< of 4 values each
  std::uint8_t point_high[8];   ///< bit k of byte j: bit 8 of point 8j + k
  std::uint8_t sign[32];        ///< of 8 values each, bit set: negative
  std::uint8_t group_scale[4];  ///< paired_nibble(): s
};
static_assert(sizeof(BlockIQ3_S) == 110, "IQ3_S is stored on disk: layout is fixed");

LQ_HD void decode(const BlockIQ3_S& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < 64; ++j) {
    const int code = paired_nibble(b.group_scale, j / 8);
    const float step = scale * static_cast<float>(1 + 2 * code);
    const int high = (b.point_high[j / 8] >> (j % 8)) & 1;
    decode_odd_point(iq3_s_point(b.point_low[j] | (high << 8)), b.sign[j / 2] >> (4 * (j % 2)),
                     step, out + 4 * j);
  }
}

/// Where a group is all zeros, the low parts and signs of the groups after it are stored one place
/// too early: so does the format's reference, whose bytes these are to be.
template <class Search>
static inline void encode_with(Search, const float* x, const Importance& hints, BlockIQ3_S& b) {
  const Grid<4>& grid = iq3_s_grid();
  GridProblem<4, BlockIQ3_S::kGroup> p;
  GridFit<4, BlockIQ3_S::kGroup> fit;
  float weight[256];
  const float mean_square = 2 * sum_of_squares(x, 256) / 256;
  for (int i = 0; i < 256; ++i)
    weight[i] = hints.weight ? hints.weight[i] * sqrtf(mean_square + x[i] * x[i]) : x[i] * x[i];
  describe_grid_problem<false>(x, weight, p);
  start_from_peaks<Grid<4>>(p, FLT_TRUE_MIN, fit);
  search_grid<Search, Refine::kWholeGroup>(p, grid, {9, 0.2f}, p.peak, fit);
  finish_groups(p, fit);
  b = {};
  std::uint8_t scale_code[8];
  b.scale = float_to_half(quantize_grid_scales<8>(fit.scale, scale_code).value * 1.033f);
  store_scale_pairs<8>(scale_code, b.group_scale);
  int place = 0;
  for (int g = 0; g < 8; ++g) {
    if (!fit.active[g]) continue;
    for (int k = 0; k < 8; ++k) {
      const int point = grid.index[chosen_point(fit, 8 * g + k)];
      b.point_low[8 * place + k] = static_cast<std::uint8_t>(point & 0xff);
      b.point_high[g] |= static_cast<std::uint8_t>((point >> 8) << k);
    }
    for (int k = 0; k < 4; ++k) b.sign[4 * place + k] = p.sign[4 * g + k];
    ++place;
  }
}
static inline void encode(const float* x, const Importance& hints, BlockIQ3_S& b) {
  encode_with(PlainSearch{}, x, hints, b);
}

LQ_HD bool valid(const BlockIQ3_S& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
