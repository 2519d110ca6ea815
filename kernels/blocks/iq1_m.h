#pragma once
// IQ1_M: 256 values -1, 0, 1, eight at a time shifted a little, as 32 points of a grid of 2048; 16
// scales of 3 bits; 1.75 bits a value.
#include <cstdint>

#include "kernels/blocks/grid_points.h"
#include "kernels/blocks/one_bit.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockIQ1_M {
  static constexpr int kValues = 256;
  static constexpr int kGroup = 16;  ///< values under one scale
  std::uint8_t point_low[32];        ///< of 8 values each
  std::uint8_t point_high[16];       ///< nibbles of points 2j, 2j + 1: 3 high bits, shifted down
  std::uint16_t scales[4];           ///< s of four groups, 3 bits each; nibble j of the scale above
};
static_assert(sizeof(BlockIQ1_M) == 56, "IQ1_M is stored on disk: layout is fixed");

/// The binary16 scale; value = scale * (2 s + 1) * (level - 1 + shift).
LQ_HD std::uint16_t block_scale(const BlockIQ1_M& b) {
  int half = 0;
  for (int j = 0; j < 4; ++j) half |= b.scales[j] >> 12 << (4 * j);
  return static_cast<std::uint16_t>(half);
}
LQ_HD int group_scale(const BlockIQ1_M& b, int g) { return (b.scales[g / 4] >> (3 * (g % 4))) & 7; }

LQ_HD void decode(const BlockIQ1_M& b, float* out) {
  const float scale = half_to_float(block_scale(b));
  for (int j = 0; j < 32; ++j) {
    const float step = scale * static_cast<float>(2 * group_scale(b, j / 2) + 1);
    const int high = paired_nibble(b.point_high, j);
    const float shift = high & 8 ? -kOneBitShift : kOneBitShift;
    decode_one_bit_point(iq1_point(b.point_low[j] | ((high & 7) << 8)), shift, step, out + 8 * j);
  }
}

/// Variant v of a group shifts part 0 by its upper bit, part 1 by its lower one: 1 is down.
static inline std::uint32_t shift_of_part(std::uint32_t variant, int part) {
  return (variant >> (1 - part)) & 1;
}

/// Terms of the sums of all splits, of each level under each variant: [level][variant].
struct OneBitTerms {
  float x[3][4][256], w[3][4][256];  ///< [place][group]
};

static inline void make_terms(const OneBitProblem<16>& p, OneBitTerms& terms) {
  for (int level = 0; level < 3; ++level) {
    const float up = kOneBitLevels[0][level], down = kOneBitLevels[1][level];
    for (std::uint32_t v = 0; v < 4; ++v) {
      const bool down_0 = shift_of_part(v, 0), down_1 = shift_of_part(v, 1);
      for (int at = 0; at < 256; ++at) {
        const float q = (p.order[at] < 8 ? down_0 : down_1) ? down : up;
        terms.x[level][v][at] = p.sorted_weight[at] * q * p.sorted[at];
        terms.w[level][v][at] = p.sorted_weight[at] * q * q;
      }
    }
  }
}

struct OneBitSums {
  float x[4][16], w[4][16];  ///< [variant][group]
};
/// Adds the terms of the values at a place.
static inline void add_place(const OneBitTerms& terms, int level, int place, OneBitSums& sums) {
  for (int v = 0; v < 4; ++v) {
#pragma GCC unroll 1
    for (int g = 0; g < 16; ++g) {
      sums.x[v][g] += terms.x[level][v][16 * place + g];
      sums.w[v][g] += terms.w[level][v][16 * place + g];
    }
  }
}

/// Tries all splits of the groups. Each has sums of its own, in the order of the places, which
/// share their beginnings: low and middle places.
static inline void search_splits(const OneBitProblem<16>& p, OneBitSplits<16>& best) {
  OneBitTerms terms;
  make_terms(p, terms);
  start_splits(best);
  OneBitSums low = {};
  for (int first = 0; first <= 16; ++first) {
    OneBitSums middle = low;
    for (int second = first; second <= 16; ++second) {
      OneBitSums all = middle;
      for (int place = second; place < 16; ++place) add_place(terms, 2, place, all);
      for (int v = 0; v < 4; ++v) keep_better(all.x[v], all.w[v], first, second, v, best);
      if (second < 16) add_place(terms, 1, second, middle);
    }
    if (first < 16) add_place(terms, 0, first, low);
  }
}

/// Chooses points of group g and stores them; returns its scale.
template <class Search>
static inline float encode_group(const OneBitProblem<16>& p, OneBitSplits<16>& best, int g,
                                 BlockIQ1_M& b) {
  const bool turn = best.scale[g] < 0;
  const float scale = turn ? -best.scale[g] : best.scale[g];
  if (turn) best.variant[g] = 3 - best.variant[g];
  std::uint32_t packed[2];
  pack_split(p, best, g, turn, packed);
  const float* const levels[2] = {kOneBitLevels[shift_of_part(best.variant[g], 0)],
                                  kOneBitLevels[shift_of_part(best.variant[g], 1)]};
  const auto chosen =
      take_points<Search, 2>(iq1_grid(), packed, p.x + 16 * g, p.weight + 16 * g, levels, scale);
  for (int k = 0; k < 2; ++k)
    b.point_low[2 * g + k] = static_cast<std::uint8_t>(chosen.point[k] & 0xff);
  b.point_high[g] = static_cast<std::uint8_t>(chosen.point[0] >> 8 | chosen.point[1] >> 8 << 4);
  return chosen.scale;
}

/// Stores the codes of the groups' scales and shifts; returns the best scale of the block for them.
static inline float fit_block_scale(const OneBitProblem<16>& p, const float* scale, float unit,
                                    const std::uint32_t* variant, BlockIQ1_M& b) {
  float xl = 0, ll = 0;
  for (int g = 0; g < 16; ++g) {
    const int code = one_bit_scale_code(1 / unit, scale[g]);
    b.scales[g / 4] |= static_cast<std::uint16_t>(code << (3 * (g % 4)));
    for (int part = 0; part < 2; ++part) {
      const std::uint32_t down = shift_of_part(variant[g], part);
      b.point_high[g] |= static_cast<std::uint8_t>(down << (3 + 4 * part));
      const int high = (b.point_high[g] >> (4 * part)) & 7;
      const int point = iq1_point(b.point_low[2 * g + part] | (high << 8));
      for (int k = 0; k < 8; ++k) {
        const int at = 16 * g + 8 * part + k;
        const float q =
            kOneBitLevels[down][level_of_8(point, k)] * static_cast<float>(2 * code + 1);
        xl += p.weight[at] * q * p.x[at];
        ll += p.weight[at] * q * q;
      }
    }
  }
  return ll > 0 ? xl / ll : unit;
}

template <class Search>
static inline void encode_with(Search, const float* x, const Importance& hints, BlockIQ1_M& b) {
  OneBitProblem<16> p;
  OneBitSplits<16> best;
  const float mean_square = 2 * sum_of_squares(x, 256) / 256;
  for (int i = 0; i < 256; ++i)
    p.weight[i] = hints.weight ? hints.weight[i] * sqrtf(mean_square + x[i] * x[i]) : x[i] * x[i];
  describe_one_bit_problem(x, p);
  search_splits(p, best);
  b = {};
  float scale[16] = {};
  for (int g = 0; g < 16; ++g) {
    if (!(p.peak[g] < 1e-7f) && best.found[g])
      scale[g] = encode_group<Search>(p, best, g, b);
    else
      best.variant[g] = 0;
  }
  const float largest = largest_or_zero(scale, 16);
  if (!(largest > 0)) return;
  const float fitted = fit_block_scale(p, scale, largest / 15, best.variant, b);
  const int half = float_to_half(fitted * 1.1125f);
  for (int j = 0; j < 4; ++j)
    b.scales[j] |= static_cast<std::uint16_t>(((half >> (4 * j)) & 15) << 12);
}
static inline void encode(const float* x, const Importance& hints, BlockIQ1_M& b) {
  encode_with(PlainSearch{}, x, hints, b);
}

LQ_HD bool valid(const BlockIQ1_M& b) { return half_is_finite(block_scale(b)); }

}  // namespace lq::kernels
