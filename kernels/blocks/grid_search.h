#pragma once
// The nearest points of a grid to some values: what encoders of the IQ types search in. Host only.
#include <cfloat>
#include <cstdint>

#include "kernels/half.h"

namespace lq::kernels {

/// A grid of points of kDims levels, kBits bits each, packed as in grid_points.def.
template <int kDims_>
struct Grid {
  static constexpr int kDims = kDims_;
  static constexpr int kBits = kDims == 8 ? 2 : 3;
  static constexpr int kMaxLevel = kDims == 8 ? 2 : 7;
  static constexpr int kTerms = 1 << kBits;  ///< levels that fit the bits
  static constexpr int kCombinations =
      kDims == 8 ? 0xaaab : 0x1000;  ///< one more than the largest packed combination

  /// Of each packed combination of levels: the number of its point, or where there is none,
  /// -1 - (64 * first + n): n times 8 points from lists[8 * first] on, the nearest ones first,
  /// those of equal distance by number; the last one repeats to fill up the 8.
  const std::int32_t* index;  ///< [kCombinations]; 0 for levels above kMaxLevel
  const std::uint16_t* lists;
};

struct GridList {
  const std::uint16_t* points;
  int n_eights;
};
/// The list of an entry below 0.
template <class Grid>
static inline GridList list_of(const Grid& grid, std::int32_t entry) {
  const std::int32_t packed = -1 - entry;
  return {grid.lists + 8 * (packed >> 6), packed & 63};
}

/// Built at the first call, by one thread while others wait; some milliseconds.
#define LQ_GRID(name, values, ...) const Grid<values>& name##_grid() noexcept;
#include "kernels/blocks/grid_points.def"
#undef LQ_GRID

/// Whether that list has more than 8 points.
static inline bool has_long_list(std::int32_t entry) { return ((-1 - entry) & 63) > 1; }

/// Searches in plain C++. Instruction sets with a better one have a tag and an overload of their
/// own.
struct PlainSearch {};

/// The point of an entry's list with the least sum over k of
/// weight[k] * (scale * levels[level k] - x[k])^2, one operation at a time in ascending order; the
/// first of equals. levels: [kTerms]. The first point if no sum is a number below FLT_MAX: the
/// format's reference gives up there.
template <class Grid>
static inline std::uint32_t nearest_point(PlainSearch, const Grid& grid, std::int32_t entry,
                                          const float* levels, const float* x, const float* weight,
                                          float scale) {
  float term[Grid::kDims][Grid::kTerms];
  for (int k = 0; k < Grid::kDims; ++k) {
    for (int l = 0; l < Grid::kTerms; ++l) {
      const float difference = scale * levels[l] - x[k];
      term[k][l] = weight[k] * difference * difference;
    }
  }
  const GridList list = list_of(grid, entry);
  float best = FLT_MAX;
  std::uint32_t found = list.points[0];
  for (int i = 0; i < 8 * list.n_eights; ++i) {
    const std::uint32_t point = list.points[i];
    float sum = term[0][point & (Grid::kTerms - 1)];
    for (int k = 1; k < Grid::kDims; ++k)
      sum += term[k][(point >> (Grid::kBits * k)) & (Grid::kTerms - 1)];
    found = sum < best ? point : found;
    best = sum < best ? sum : best;
  }
  return found;
}

}  // namespace lq::kernels
