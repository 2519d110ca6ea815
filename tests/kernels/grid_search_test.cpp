// The tables that encoders of the IQ types search in, against their definition.
#include "kernels/blocks/grid_search.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "kernels/blocks/grid_points.h"

namespace {

using namespace lq::kernels;

/// Points in the order of their distance from the combination, then of their number.
template <class G>
std::vector<int> around(const std::vector<int>& points, int packed, std::size_t n_shells) {
  std::map<int, std::vector<int>> shells;
  for (const int point : points) {
    int distance = 0;
    for (int k = 0; k < G::kDims; ++k) {
      const int d = ((point >> (G::kBits * k)) & (G::kTerms - 1)) -
                    ((packed >> (G::kBits * k)) & (G::kTerms - 1));
      distance += d * d;
    }
    shells[distance].push_back(point);
  }
  std::vector<int> near;
  for (auto shell = shells.begin(); n_shells-- > 0 && shell != shells.end(); ++shell)
    near.insert(near.end(), shell->second.begin(), shell->second.end());
  return near;
}

/// The combinations of which no level is above the largest, every `stride`-th of them.
template <class G>
std::vector<int> some_combinations(int stride) {
  std::vector<int> found;
  for (int packed = 0; packed < G::kCombinations; ++packed) {
    bool possible = true;
    for (int k = 0; k < G::kDims; ++k)
      possible = possible && ((packed >> (G::kBits * k)) & (G::kTerms - 1)) <= G::kMaxLevel;
    if (possible && packed % stride == 0) found.push_back(packed);
  }
  return found;
}

template <class G>
void check_grid(const G& grid, const std::vector<int>& points, std::size_t n_shells) {
  CHECK(std::is_sorted(points.begin(), points.end()));
  for (std::size_t i = 0; i < points.size(); ++i)
    CHECK(grid.index[points[i]] == static_cast<std::int32_t>(i));
  std::size_t n_lists = 0;
  for (const int packed : some_combinations<G>(G::kDims == 8 ? 37 : 5)) {
    if (std::binary_search(points.begin(), points.end(), packed)) continue;
    ++n_lists;
    REQUIRE(grid.index[packed] < 0);
    const GridList list = list_of(grid, grid.index[packed]);
    auto expected = around<G>(points, packed, n_shells);
    while (expected.size() % 8 != 0) expected.push_back(expected.back());
    const std::vector<int> found(list.points, list.points + 8 * list.n_eights);
    CHECK(found == expected);
    CHECK(has_long_list(grid.index[packed]) == (expected.size() > 8));
  }
  CHECK(n_lists > 50);
}

}  // namespace

TEST_CASE("grids: every combination of levels has its point, or the points around it in order"){
#define LQ_GRID(name, values, n_points, shells, listed, ...)              \
  {                                                                       \
    CAPTURE(std::string(#name));                                          \
    std::vector<int> points;                                              \
    for (int i = 0; i < n_points; ++i) points.push_back(name##_point(i)); \
    check_grid(name##_grid(), points, shells);                            \
  }
#include "kernels/blocks/grid_points.def"
#undef LQ_GRID
}

TEST_CASE("grids: the lists fill their tables exactly") {
#define LQ_GRID(name, values, n_points, shells, listed, ...)                               \
  {                                                                                        \
    CAPTURE(std::string(#name));                                                           \
    const auto& grid = name##_grid();                                                      \
    int end = 0;                                                                           \
    for (int i = 0; i < grid.kCombinations; ++i) {                                         \
      if (grid.index[i] >= 0) continue;                                                    \
      const GridList list = list_of(grid, grid.index[i]);                                  \
      end = std::max(end, static_cast<int>(list.points - grid.lists) + 8 * list.n_eights); \
    }                                                                                      \
    CHECK(end == listed);                                                                  \
  }
#include "kernels/blocks/grid_points.def"
#undef LQ_GRID
}
