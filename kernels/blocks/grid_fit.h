#pragma once
// How encoders of the 2- and 3-bit IQ types choose points of a grid and a scale for each group of
// values. As in scale_search.h every operation is one binary32 operation in the order written, and
// groups lie side by side ([value][group]) so that one loop serves all of them. Host only.
#include <cmath>
#include <cstdint>

#include "kernels/blocks/grid_search.h"
#include "kernels/blocks/importance.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

/// 256 values as magnitudes in groups of kGroup under one scale.
template <int kDims_, int kGroup_>
struct GridProblem {
  static constexpr int kDims = kDims_;
  static constexpr int kGroup = kGroup_;
  static constexpr int kGroups = 256 / kGroup;
  static constexpr int kParts = kGroup / kDims;   ///< points in a group
  float x[256], root[256];                        ///< [group][value]; root of the weight
  float beside[256], weight[256], weight_x[256];  ///< [value][group]: x, its weight, their product
  float peak[kGroups];                            ///< largest x
  std::uint8_t sign[32];                          ///< of 8 values each, bit set: negative
};

/// Points of all groups, [part][group].
template <int kDims>
struct GridPoints {
  std::uint32_t packed[256 / kDims];
  std::uint32_t off_grid[256 / kDims];  ///< 1: the nearest levels were no point, a list gave this
};

/// What is chosen for a GridProblem.
template <int kDims, int kGroup>
struct GridFit {
  static constexpr int kGroups = 256 / kGroup;
  bool active[kGroups];  ///< others are zeros
  float scale[kGroups];
  GridPoints<kDims> points;
};

/// Point j of the block's 256 / kDims.
template <int kDims, int kGroup>
static inline std::uint32_t chosen_point(const GridFit<kDims, kGroup>& fit, int j) {
  constexpr int parts = kGroup / kDims;
  return fit.points.packed[j % parts * fit.kGroups + j / parts];
}

/// Signs and magnitudes of 8 values. kEven: where the number of negative values is odd, the value
/// whose sign matters least gets the wrong one, its magnitude becomes negative.
template <bool kEven>
static inline std::uint8_t take_signs(const float* x, const float* weight, float* magnitude) {
  int signs = 0, n_negative = 0;
  for (int i = 0; i < 8; ++i) {
    const bool negative = !(x[i] >= 0);
    magnitude[i] = negative ? -x[i] : x[i];
    signs |= static_cast<int>(negative) << i;
    n_negative += negative;
  }
  if (kEven && n_negative % 2 != 0) {
    int least = 0;
    float cost = weight[0] * x[0] * x[0];
    for (int i = 1; i < 8; ++i) {
      const float other = weight[i] * x[i] * x[i];
      least = other < cost ? i : least;
      cost = other < cost ? other : cost;
    }
    magnitude[least] = -magnitude[least];
    signs ^= 1 << least;
  }
  return static_cast<std::uint8_t>(signs);
}

/// x, weight: [256].
template <bool kEvenSigns, class Problem>
static inline void describe_grid_problem(const float* x, const float* weight, Problem& p) {
  constexpr int n = Problem::kGroup, groups = Problem::kGroups;
  for (int j = 0; j < 32; ++j)
    p.sign[j] = take_signs<kEvenSigns>(x + 8 * j, weight + 8 * j, p.x + 8 * j);
  for (int i = 0; i < 256; ++i) p.root[i] = sqrtf(weight[i]);
  lay_side_by_side<n, groups>(p.x, p.beside);
  lay_side_by_side<n, groups>(weight, p.weight);
  for (int i = 0; i < 256; ++i) p.weight_x[i] = p.weight[i] * p.beside[i];
  for (int g = 0; g < groups; ++g) p.peak[g] = p.beside[g];
  for (int i = 1; i < n; ++i) {
    for (int g = 0; g < groups; ++g)
      p.peak[g] = p.peak[g] > p.beside[i * groups + g] ? p.peak[g] : p.beside[i * groups + g];
  }
}

/// The nearest levels under these inverse scales, packed as points are.
template <class Problem, class Grid>
static inline void pack_levels(const Problem& p, const Grid&, const float* inverse,
                               std::uint32_t* packed) {
  constexpr int groups = Problem::kGroups;
  for (int part = 0; part < Problem::kParts; ++part) {
    std::uint32_t levels[groups] = {};
    for (int k = 0; k < Grid::kDims; ++k) {
      const float* x = p.beside + (part * Grid::kDims + k) * groups;
#pragma GCC unroll 1
      for (int g = 0; g < groups; ++g) {
        const int level = clamp_int(round_even(0.5f * (inverse[g] * x[g] - 1)), 0, Grid::kMaxLevel);
        levels[g] |= static_cast<std::uint32_t>(level) << (Grid::kBits * k);
      }
    }
    for (int g = 0; g < groups; ++g) packed[part * groups + g] = levels[g];
  }
}

/// Points for the active groups: the nearest levels where they are a point, else the best of the
/// points around them.
template <class Search, class Problem, class Grid>
static inline void find_points(const Problem& p, const Grid& grid, const float* inverse,
                               const float* scale, const bool* active,
                               GridPoints<Grid::kDims>& points) {
  static constexpr float kLevels[8] = {1, 3, 5, 7, 9, 11, 13, 15};
  constexpr int groups = Problem::kGroups, n_points = Problem::kParts * groups;
  pack_levels(p, grid, inverse, points.packed);
  // First all that are to be searched, short lists and long ones, then the searches: whether a
  // point has one is a coin toss that processors guess wrong.
  std::uint8_t work[2][n_points];
  int n_work[2] = {};
  for (int at = 0; at < n_points; ++at) {
    const std::int32_t entry = grid.index[points.packed[at]];
    const bool search = (entry < 0) & active[at % groups], is_long = has_long_list(entry);
    points.off_grid[at] = search;
    work[0][n_work[0]] = static_cast<std::uint8_t>(at);
    work[1][n_work[1]] = static_cast<std::uint8_t>(at);
    n_work[0] += search & !is_long;
    n_work[1] += search & is_long;
  }
  for (int kind = 0; kind < 2; ++kind) {
    for (int i = 0; i < n_work[kind]; ++i) {
      const int at = work[kind][i], g = at % groups;
      const int value = g * Problem::kGroup + at / groups * Grid::kDims;
      points.packed[at] = nearest_point(Search{}, grid, grid.index[points.packed[at]], kLevels,
                                        p.x + value, p.root + value, scale[g]);
    }
  }
}

/// Sums of weight * x * level and weight * level^2 for these points.
template <class Problem, class Grid>
static inline void sum_points(const Problem& p, const Grid&, const std::uint32_t* packed,
                              FitSums<Problem::kGroups>& sums) {
  constexpr int groups = Problem::kGroups;
  float xl[groups] = {}, ll[groups] = {};
  for (int part = 0; part < Problem::kParts; ++part) {
    const std::uint32_t* points = packed + part * groups;
    for (int k = 0; k < Grid::kDims; ++k) {
      const float* weight = p.weight + (part * Grid::kDims + k) * groups;
      const float* weight_x = p.weight_x + (part * Grid::kDims + k) * groups;
#pragma GCC unroll 1
      for (int g = 0; g < groups; ++g) {
        const auto level = static_cast<int>((points[g] >> (Grid::kBits * k)) & (Grid::kTerms - 1));
        const auto q = static_cast<float>(2 * level + 1);
        xl[g] += weight_x[g] * q;
        ll[g] += weight[g] * q * q;
      }
    }
  }
  for (int g = 0; g < groups; ++g) sums.xl[g] = xl[g];
  for (int g = 0; g < groups; ++g) sums.ll[g] = ll[g];
}

/// Which points are chosen again once a scale is found: those that came from a list, those of
/// groups with such a point or with no good candidate, all.
enum class Refine { kOffGrid, kWholeGroup, kAlways };

/// Chooses points again under the scales found, then fits the scales to them.
template <class Search, Refine kRefine, class Problem, class Grid, class Fit>
static inline void refine_grid(const Problem& p, const Grid& grid, Fit& fit) {
  constexpr int groups = Problem::kGroups, parts = Problem::kParts;
  GridPoints<Grid::kDims> found = {};
  float inverse[groups];
  bool again[groups];
  for (int g = 0; g < groups; ++g) {
    std::uint32_t any = kRefine == Refine::kAlways;
    for (int part = 0; part < parts; ++part) any |= fit.points.off_grid[part * groups + g];
    inverse[g] = 1 / fit.scale[g];
    again[g] = fit.active[g] && any && fit.scale[g] > 0;
  }
  find_points<Search>(p, grid, inverse, fit.scale, again, found);
  for (int at = 0; at < parts * groups; ++at) {
    if (again[at % groups] && (kRefine != Refine::kOffGrid || fit.points.off_grid[at]))
      fit.points.packed[at] = found.packed[at];
  }
  FitSums<groups> sums;
  sum_points(p, grid, fit.points.packed, sums);
  for (int g = 0; g < groups; ++g)
    if (again[g] && sums.ll[g] > 0) fit.scale[g] = sums.xl[g] / sums.ll[g];
}

struct GridCandidates {
  int steps;   ///< on either side of the largest level
  float step;  ///< in levels
};

/// Chooses points and scales of the active groups. span: [kGroups], the magnitude that the largest
/// level stands for in the middle candidate. fit.scale: what a group keeps if no candidate is
/// better than nothing.
template <class Search, Refine kRefine, class Problem, class Grid, class Fit>
static inline void search_grid(const Problem& p, const Grid& grid, GridCandidates candidates,
                               const float* span, Fit& fit) {
  constexpr int groups = Problem::kGroups, n_points = Problem::kParts * groups;
  GridPoints<Grid::kDims> found = {};
  FitSums<groups> sums;
  float best[groups] = {}, inverse[groups], scale[groups];
  for (auto& packed : fit.points.packed) packed = 0;
  for (auto& off_grid : fit.points.off_grid) off_grid = kRefine == Refine::kOffGrid ? 0 : 1;
  for (int k = -candidates.steps; k <= candidates.steps; ++k) {
    const float top = 2 * Grid::kMaxLevel + 1 + static_cast<float>(k) * candidates.step;
    for (int g = 0; g < groups; ++g) inverse[g] = top / span[g];
    for (int g = 0; g < groups; ++g) scale[g] = 1 / inverse[g];
    find_points<Search>(p, grid, inverse, scale, fit.active, found);
    sum_points(p, grid, found.packed, sums);
    std::uint32_t better[groups];
    for (int g = 0; g < groups; ++g) {
      const float xl = sums.xl[g], ll = sums.ll[g], quotient = xl / ll;
      const bool is_better = (ll > 0) & (xl * xl > best[g] * ll);
      fit.scale[g] = is_better ? quotient : fit.scale[g];
      best[g] = is_better ? quotient * xl : best[g];
      better[g] = is_better ? ~0u : 0u;
    }
    for (int at = 0; at < n_points; ++at) {
      const std::uint32_t mask = better[at % groups];
      fit.points.packed[at] = (found.packed[at] & mask) | (fit.points.packed[at] & ~mask);
      fit.points.off_grid[at] = (found.off_grid[at] & mask) | (fit.points.off_grid[at] & ~mask);
    }
  }
  refine_grid<Search, kRefine>(p, grid, fit);
}

/// Groups below `tiny` are zeros; the others start with the scale under which the largest level
/// stands for their peak.
template <class Grid, class Problem, class Fit>
static inline void start_from_peaks(const Problem& p, float tiny, Fit& fit) {
  for (int g = 0; g < Problem::kGroups; ++g) {
    fit.active[g] = !(p.peak[g] < tiny);
    fit.scale[g] = p.peak[g] / (2 * Grid::kMaxLevel + 1);
  }
}

/// Makes scales positive by turning the signs of their values around, and other groups zeros. A
/// scale that is not a number becomes 0: the format's reference gives up there.
template <class Problem, class Fit>
static inline void finish_groups(Problem& p, Fit& fit) {
  constexpr int groups = Problem::kGroups, bytes = Problem::kGroup / 8;
  for (int g = 0; g < groups; ++g) {
    const bool turn = fit.active[g] && fit.scale[g] < 0;
    const float magnitude = turn ? -fit.scale[g] : fit.scale[g];
    fit.scale[g] = fit.active[g] && magnitude >= 0 ? magnitude : 0;
    for (int j = g * bytes; j < (g + 1) * bytes; ++j) {
      const int sign = fit.active[g] ? p.sign[j] ^ (turn ? 0xff : 0) : 0;
      p.sign[j] = static_cast<std::uint8_t>(sign);
    }
    for (int at = g; !fit.active[g] && at < Problem::kParts * groups; at += groups)
      fit.points.packed[at] = 0;
  }
}

struct GridUnit {
  float value;
  bool any;  ///< some group is not 0
};
/// Scales of groups as 4-bit codes: scale ~ unit * (2 * code + 1). Codes are 0 if all scales are.
template <int kGroups>
static inline GridUnit quantize_grid_scales(const float* scale, std::uint8_t* code) {
  const float largest = largest_or_zero(scale, kGroups);
  const float unit = largest / 31, inverse = 1 / unit;
  for (int g = 0; g < kGroups; ++g) {
    const int l = round_even(0.5f * (inverse * scale[g] - 1));
    code[g] = static_cast<std::uint8_t>(largest > 0 ? clamp_int(l, 0, 15) : 0);
  }
  return {unit, largest > 0};
}

/// Codes of groups 2j and 2j + 1 in the low and high nibble of byte j: paired_nibble().
template <int kGroups>
static inline void store_scale_pairs(const std::uint8_t* code, std::uint8_t* packed) {
  for (int j = 0; j < kGroups / 2; ++j)
    packed[j] = static_cast<std::uint8_t>(code[2 * j] | (code[2 * j + 1] << 4));
}

}  // namespace lq::kernels
