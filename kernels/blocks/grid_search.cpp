#include "kernels/blocks/grid_search.h"

namespace lq::kernels {
namespace {

/// Combination number i of all, by counting.
template <class Grid>
int packed_combination(int i) {
  int packed = 0;
  for (int k = 0; k < Grid::kDims; ++k) {
    packed |= i % (Grid::kMaxLevel + 1) << (Grid::kBits * k);
    i /= Grid::kMaxLevel + 1;
  }
  return packed;
}

template <class Grid>
constexpr int count_combinations() {
  int n = 1;
  for (int k = 0; k < Grid::kDims; ++k) n *= Grid::kMaxLevel + 1;
  return n;
}

template <int kDims, int kPoints, int kShells, int kListed>
struct GridTables {
  using G = Grid<kDims>;
  static constexpr int kDistances = kDims * G::kMaxLevel * G::kMaxLevel + 1;
  std::int32_t index[G::kCombinations] = {};
  alignas(16) std::uint16_t lists[kListed] = {};

  explicit GridTables(const std::uint16_t* points) noexcept {
    for (int j = 0; j < kPoints; ++j) index[points[j]] = -1 - j;  // marked until all lists are made
    spread(points);
    int used = 0;
    for (int i = 0; i < count_combinations<G>(); ++i) {
      const int packed = packed_combination<G>(i);
      if (index[packed] == 0) used = add_list(points, packed, used);
    }
    for (int j = 0; j < kPoints; ++j) index[points[j]] = j;
  }
  Grid<kDims> grid() const noexcept { return {index, lists}; }

 private:
  /// Squared distances of all points from each level of each value.
  void spread(const std::uint16_t* points) noexcept {
    for (int k = 0; k < kDims; ++k) {
      for (int l = 0; l <= G::kMaxLevel; ++l) {
        for (int j = 0; j < kPoints; ++j) {
          const int d = ((points[j] >> (G::kBits * k)) & (G::kTerms - 1)) - l;
          square[k][l][j] = static_cast<std::uint8_t>(d * d);
        }
      }
    }
  }
  void measure(int packed, std::uint8_t* distance) const noexcept {
    for (int j = 0; j < kPoints; ++j) distance[j] = 0;
    for (int k = 0; k < kDims; ++k) {
      const std::uint8_t* of_level = square[k][(packed >> (G::kBits * k)) & (G::kTerms - 1)];
      for (int j = 0; j < kPoints; ++j)
        distance[j] = static_cast<std::uint8_t>(distance[j] + of_level[j]);
    }
  }
  /// The largest distance that belongs to the nearest kShells ones.
  static int limit(const std::uint8_t* distance) noexcept {
    int least = -1;
    for (int shell = 0; shell < kShells; ++shell) {
      int next = 255;
      for (int j = 0; j < kPoints; ++j) {
        const int d = distance[j] > least ? distance[j] : 255;
        next = d < next ? d : next;
      }
      least = next;
    }
    return least;
  }
  /// Returns how much of `lists` is used.
  int add_list(const std::uint16_t* points, int packed, int used) noexcept {
    std::uint8_t distance[kPoints];
    measure(packed, distance);
    const int last = limit(distance);
    int count[kDistances] = {}, near[kPoints], n = 0;
    for (int j = 0; j < kPoints; ++j) {
      near[n] = j;
      n += distance[j] <= last;
    }
    for (int i = 0; i < n; ++i) ++count[distance[near[i]]];
    int place[kDistances], at = used;
    for (int d = 0; d <= last; ++d) {
      place[d] = at;
      at += count[d];
    }
    for (int i = 0; i < n; ++i) lists[place[distance[near[i]]]++] = points[near[i]];
    const int n_eights = (n + 7) / 8;
    for (int i = n; i < 8 * n_eights; ++i) lists[used + i] = lists[used + n - 1];
    index[packed] = -1 - (64 * (used / 8) + n_eights);
    return used + 8 * n_eights;
  }

  std::uint8_t square[kDims][G::kMaxLevel + 1][kPoints] = {};
};

}  // namespace

#define LQ_GRID(name, values, n_points, shells, listed, ...)                   \
  const Grid<values>& name##_grid() noexcept {                                 \
    static constexpr std::uint16_t kPoints[] = {__VA_ARGS__};                  \
    static const GridTables<values, n_points, shells, listed> tables(kPoints); \
    static const Grid<values> grid = tables.grid();                            \
    return grid;                                                               \
  }
#include "kernels/blocks/grid_points.def"
#undef LQ_GRID

}  // namespace lq::kernels
