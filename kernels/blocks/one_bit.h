#pragma once
// What the encoders of IQ1_S and IQ1_M share. A group's values, sorted, are split in three: low,
// middle and high ones; all splits are tried. Then points of the grid near the split are taken.
// Every operation is one binary32 operation in the order written. Host only.
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "kernels/blocks/grid_search.h"
#include "kernels/blocks/importance.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

/// Values of the levels 0, 1, 2, shifted up ([0]) or down ([1]).
static constexpr float kOneBitLevels[2][4] = {{-0.875f, 0.125f, 1.125f, 0},
                                              {-1.125f, -0.125f, 0.875f, 0}};

/// 256 values in groups of kGroup under one scale.
template <int kGroup_>
struct OneBitProblem {
  static constexpr int kGroup = kGroup_;
  static constexpr int kGroups = 256 / kGroup;
  const float* x;            ///< [group][value]
  float weight[256];         ///< [group][value]
  float peak[kGroups];       ///< largest magnitude
  std::uint8_t order[256];   ///< [place][group]: which value is there, in ascending order
  float sorted[256];         ///< [place][group]: the values
  float sorted_weight[256];  ///< [place][group]: their weights
};

/// The best split of each group.
template <int kGroups>
struct OneBitSplits {
  float score[kGroups];
  float scale[kGroups];
  std::uint32_t first[kGroups];    ///< places below: low values
  std::uint32_t second[kGroups];   ///< places from here on: high values
  std::uint32_t variant[kGroups];  ///< how parts are shifted
  std::uint32_t found[kGroups];    ///< all bits set: there is a split
};

/// Sorts groups; equal values keep their order.
template <class Problem>
static inline void sort_groups(Problem& p) {
  constexpr int n = Problem::kGroup, groups = Problem::kGroups;
  float beside[256];
  std::int32_t rank[256] = {};
  lay_side_by_side<n, groups>(p.x, beside);
  for (int i = 1; i < n; ++i) {
    for (int j = 0; j < i; ++j) {
#pragma GCC unroll 1
      for (int g = 0; g < groups; ++g) {
        const std::int32_t after = beside[j * groups + g] <= beside[i * groups + g];
        rank[i * groups + g] += after;
        rank[j * groups + g] += 1 - after;
      }
    }
  }
  for (auto& place : p.order) place = 0;  // ranks of values that are not numbers leave gaps
  for (int i = 0; i < n; ++i)
    for (int g = 0; g < groups; ++g)
      p.order[rank[i * groups + g] * groups + g] = static_cast<std::uint8_t>(i);
  for (int at = 0; at < 256; ++at) {
    const int from = at % groups * n + p.order[at];
    p.sorted[at] = p.x[from];
    p.sorted_weight[at] = p.weight[from];
  }
}

template <class Problem>
static inline void describe_one_bit_problem(const float* x, Problem& p) {
  p.x = x;
  for (int g = 0; g < Problem::kGroups; ++g) {
    const float* values = x + g * Problem::kGroup;
    p.peak[g] = fabsf(values[0]);
    for (int i = 1; i < Problem::kGroup; ++i)
      p.peak[g] = p.peak[g] > fabsf(values[i]) ? p.peak[g] : fabsf(values[i]);
  }
  sort_groups(p);
}

template <int kGroups>
static inline void start_splits(OneBitSplits<kGroups>& best) {
  best = {};
  for (float& score : best.score) score = -FLT_MAX;
}

/// Keeps what is better: xl, ll are the sums of weight * x * level and weight * level^2 of a split.
template <int kGroups>
static inline void keep_better(const float* xl, const float* ll, int first, int second, int variant,
                               OneBitSplits<kGroups>& best) {
  std::uint32_t better[kGroups], any = 0;
#pragma GCC unroll 1
  for (int g = 0; g < kGroups; ++g) {
    const bool is_better = (ll[g] > 0) & (xl[g] * xl[g] > best.score[g] * ll[g]);
    better[g] = is_better ? ~0u : 0u;
    any |= better[g];
  }
  if (!any) return;
  for (int g = 0; g < kGroups; ++g) {
    const float quotient = xl[g] / ll[g];
    const std::uint32_t mask = better[g];
    best.scale[g] = mask ? quotient : best.scale[g];
    best.score[g] = mask ? quotient * xl[g] : best.score[g];
    best.first[g] = mask ? static_cast<std::uint32_t>(first) : best.first[g];
    best.second[g] = mask ? static_cast<std::uint32_t>(second) : best.second[g];
    best.variant[g] = mask ? static_cast<std::uint32_t>(variant) : best.variant[g];
    best.found[g] |= mask;
  }
}

/// A group's choice.
template <int kParts>
struct OneBitGroup {
  float scale;
  int point[kParts];  ///< numbers in the grid
};

/// Levels of group g under its split, packed as points are. turn: high values become low ones.
template <class Problem, class Splits>
static inline void pack_split(const Problem& p, const Splits& best, int g, bool turn,
                              std::uint32_t* packed) {
  for (int part = 0; part < Problem::kGroup / 8; ++part) packed[part] = 0;
  for (int place = 0; place < Problem::kGroup; ++place) {
    const auto at = static_cast<std::uint32_t>(place);
    const std::uint32_t level = (at >= best.first[g]) + (at >= best.second[g]);
    const int value = p.order[place * Problem::kGroups + g];
    packed[value / 8] |= (turn ? 2 - level : level) << (2 * (value % 8));
  }
}

/// Takes the nearest points and, where they are not the split's own levels, fits the scale again.
/// levels: values of the levels for each part.
template <class Search, int kParts>
static inline OneBitGroup<kParts> take_points(const Grid<8>& grid, const std::uint32_t* packed,
                                              const float* x, const float* weight,
                                              const float* const* levels, float scale) {
  OneBitGroup<kParts> group = {scale, {}};
  bool all_on_grid = true;
  std::uint32_t point[kParts];
  for (int part = 0; part < kParts; ++part) {
    const std::int32_t entry = grid.index[packed[part]];
    point[part] = packed[part];
    if (entry < 0) {
      all_on_grid = false;
      point[part] = nearest_point(Search{}, grid, entry, levels[part], x + 8 * part,
                                  weight + 8 * part, scale);
    }
    group.point[part] = grid.index[point[part]];
  }
  if (all_on_grid) return group;
  float xl = 0, ll = 0;
  for (int i = 0; i < 8 * kParts; ++i) {
    const float q = levels[i / 8][(point[i / 8] >> (2 * (i % 8))) & 3];
    xl += weight[i] * q * x[i];
    ll += weight[i] * q * q;
  }
  if (xl > 0 && ll > 0) group.scale = xl / ll;
  return group;
}

/// The nearest of the odd multiples 1, 3 .. 15 of the unit, as a code 0..7.
static inline int one_bit_scale_code(float inverse, float scale) {
  return clamp_int(round_even(0.5f * (inverse * scale - 1)), 0, 7);
}

}  // namespace lq::kernels
