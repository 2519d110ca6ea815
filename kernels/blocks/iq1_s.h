#pragma once
// IQ1_S: 256 values -1, 0, 1, all shifted a little, as 32 points of a grid of 2048; 8 scales of 3
// bits; 1.5625 bits a value.
#include <cstdint>

#include "kernels/blocks/grid_points.h"
#include "kernels/blocks/one_bit.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ1_S {
  static constexpr int kValues = 256;
  static constexpr int kGroup = 32;  ///< values under one scale
  std::uint16_t scale;               ///< binary16; value = scale * (2 s + 1) * (level - 1 + shift)
  std::uint8_t point_low[32];        ///< of 8 values each
  std::uint16_t group[8];  ///< 4 times the 3 high bits of a point, s, bit 15: shifted down, not up
};
static_assert(sizeof(BlockIQ1_S) == 50, "IQ1_S is stored on disk: layout is fixed");

LQ_HD void decode(const BlockIQ1_S& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int j = 0; j < 32; ++j) {
    const int group = b.group[j / 4];
    const float step = scale * static_cast<float>(2 * ((group >> 12) & 7) + 1);
    const float shift = group >> 15 ? -kOneBitShift : kOneBitShift;
    const int high = (group >> (3 * (j % 4))) & 7;
    decode_one_bit_point(iq1_point(b.point_low[j] | (high << 8)), shift, step, out + 8 * j);
  }
}

/// Tries all splits of the groups by running sums.
static inline void search_splits(const OneBitProblem<32>& p, OneBitSplits<8>& best) {
  constexpr int n = 32, groups = 8;
  float sum_x[n + 1][groups] = {}, sum_w[n + 1][groups] = {};
  for (int i = 0; i < n; ++i) {
    for (int g = 0; g < groups; ++g) {
      const float w = p.sorted_weight[i * groups + g];
      sum_x[i + 1][g] = sum_x[i][g] + w * p.sorted[i * groups + g];
      sum_w[i + 1][g] = sum_w[i][g] + w;
    }
  }
  float high_x[2][n + 1][groups], high_w[2][n + 1][groups];
  for (int v = 0; v < 2; ++v) {
    const float level = kOneBitLevels[v][2];
    for (int i = 0; i <= n; ++i) {
      for (int g = 0; g < groups; ++g) {
        high_x[v][i][g] = (sum_x[n][g] - sum_x[i][g]) * level;
        high_w[v][i][g] = (sum_w[n][g] - sum_w[i][g]) * level * level;
      }
    }
  }
  start_splits(best);
  for (int first = 0; first <= n; ++first) {
    for (int second = first; second <= n; ++second) {
      for (int v = 0; v < 2; ++v) {
        const float *level = kOneBitLevels[v], *hx = high_x[v][second], *hw = high_w[v][second];
        float xl[groups], ll[groups];
        for (int g = 0; g < groups; ++g) {
          const float mid_x = sum_x[second][g] - sum_x[first][g];
          const float mid_w = sum_w[second][g] - sum_w[first][g];
          xl[g] = sum_x[first][g] * level[0] + mid_x * level[1] + hx[g];
          ll[g] = sum_w[first][g] * level[0] * level[0] + mid_w * level[1] * level[1] + hw[g];
        }
        keep_better(xl, ll, first, second, v, best);
      }
    }
  }
}

/// Stores group g; a group without a split keeps points 0 and scale 0.
template <class Search>
static inline float encode_group(const OneBitProblem<32>& p, const OneBitSplits<8>& best, int g,
                                 BlockIQ1_S& b) {
  const bool turn = best.scale[g] < 0;
  const float scale = turn ? -best.scale[g] : best.scale[g];
  const auto variant = (best.variant[g] & 1) ^ static_cast<std::uint32_t>(turn);
  std::uint32_t packed[4];
  pack_split(p, best, g, turn, packed);
  const float* level = kOneBitLevels[variant];
  const float* const levels[4] = {level, level, level, level};
  const auto chosen =
      take_points<Search, 4>(iq1_grid(), packed, p.x + 32 * g, p.weight + 32 * g, levels, scale);
  int high = 0;
  for (int k = 0; k < 4; ++k) {
    b.point_low[4 * g + k] = static_cast<std::uint8_t>(chosen.point[k] & 0xff);
    high |= (chosen.point[k] >> 8) << (3 * k);
  }
  b.group[g] = static_cast<std::uint16_t>(high | static_cast<int>(variant << 15));
  return chosen.scale;
}

/// Without importance as if all columns mattered alike; the format's reference demands importance.
template <class Search>
static inline void encode_with(Search, const float* x, const Importance& hints, BlockIQ1_S& b) {
  OneBitProblem<32> p;
  OneBitSplits<8> best;
  const float mean_square = 2 * sum_of_squares(x, 256) / 256;
  for (int i = 0; i < 256; ++i)
    p.weight[i] = (hints.weight ? hints.weight[i] : 1) * sqrtf(mean_square + x[i] * x[i]);
  describe_one_bit_problem(x, p);
  search_splits(p, best);
  b = {};
  float scale[8] = {};
  for (int g = 0; g < 8; ++g)
    if (!(p.peak[g] < 1e-12f) && best.found[g]) scale[g] = encode_group<Search>(p, best, g, b);
  const float largest = largest_or_zero(scale, 8);
  if (!(largest > 0)) {
    for (int g = 0; g < 8; ++g) b.group[g] &= 0x0fff;
    return;
  }
  const float unit = largest / 15;
  b.scale = float_to_half(unit * 1.125f);
  for (int g = 0; g < 8; ++g)
    b.group[g] |= static_cast<std::uint16_t>(one_bit_scale_code(1 / unit, scale[g]) << 12);
}
static inline void encode(const float* x, const Importance& hints, BlockIQ1_S& b) {
  encode_with(PlainSearch{}, x, hints, b);
}

LQ_HD bool valid(const BlockIQ1_S& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
