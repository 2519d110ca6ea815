// Products of many tokens in tiles of bfloat16: the whole of it with plain tiles against binary64,
// and what sets replace of it against that.
#include <doctest/doctest.h>

#include "kernels/cpu/asked_features.h"
#include "kernels/panels/plain_tiles.h"
#include "tests/support/panel_data.h"
#include "tests/support/panel_tiles.h"

namespace {

using namespace lq::kernels;
using namespace lq::test;
using lq::DType;
using lq::DTypeTraits;

/// Both operands are off by up to 2^-8; what the sums add is less than 2^-15.
constexpr double kBound = 0x1.02p-7;

/// Columns of at least `n` that the type can have.
std::size_t columns_of(const DTypeTraits& traits, std::size_t n) {
  const auto values = static_cast<std::size_t>(traits.values);
  return (n + values - 1) / values * values;
}

struct TileCase {
  std::size_t rows, least_cols;
  int n_tokens;
};
/// One step; ends inside of windows, chunks and blocks of tokens; one panel and several.
constexpr TileCase kTileCases[] = {{1, 32, 16},    {16, 96, 17},   {17, 160, 31}, {70, 544, 33},
                                   {33, 2144, 49}, {48, 2048, 32}, {40, 288, 300}};

/// The largest difference of y (rows of stride values) from the product in binary64, as a part of
/// the sum of magnitudes.
double worst_error(const StoredMatrix& w, const std::vector<float>& x, int n_tokens,
                   const std::vector<float>& y) {
  double worst = 0;
  for (std::size_t t = 0; t < static_cast<std::size_t>(n_tokens); ++t)
    for (std::size_t r = 0; r < w.rows; ++r) {
      const Dot dot(w.values.data() + r * w.cols, x.data() + t * w.cols, w.cols);
      keep_worst(worst,
                 std::fabs(static_cast<double>(y[t * (w.rows + 3) + r]) - dot.sum) / dot.magnitude);
    }
  return worst;
}

/// Types that tiles are made for.
template <class Check>
void for_each_tile_type(const Check& check) {
  for_each_panel_type([&](DType type, const DTypeTraits& traits) {
    if (kPlainTiles.multiply[index_of(type)]) check(type, traits);
  });
}

template <class Check>
void for_each_tile_case(const Check& check) {
  for_each_tile_type([&](DType type, const DTypeTraits& traits) {
    for (const TileCase& c : kTileCases) {
      CAPTURE(c.rows);
      CAPTURE(c.least_cols);
      CAPTURE(c.n_tokens);
      const StoredMatrix w(type, c.rows, columns_of(traits, c.least_cols), 1);
      const auto x = normal_values(static_cast<std::size_t>(c.n_tokens) * w.cols, 2);
      check(w, x, c.n_tokens);
    }
  });
}

int panels_in(const StoredMatrix& w) { return static_cast<int>(w.rows + 15) / 16; }

/// Ranges of panels and other tokens beside it change no bit of a result.
void check_parts(const PanelProducts& way, const StoredMatrix& w,
                 const std::vector<std::byte>& panels, const std::vector<float>& x, int n_tokens,
                 const std::vector<float>& y) {
  const std::size_t stride = w.rows + 3;
  const int end = panels_in(w), begin = end / 2;
  const auto part = multiply_panels_of(way, w, panels, x, n_tokens, begin, end);
  // The last 16 tokens alone, in a tile of another width.
  const auto first = static_cast<std::size_t>(n_tokens - 16);
  const std::vector<float> last(x.begin() + static_cast<std::ptrdiff_t>(first * w.cols), x.end());
  const auto few = multiply_panels_of(way, w, panels, last, 16, 0, end);
  int differ = 0;
  for (std::size_t t = 0; t < static_cast<std::size_t>(n_tokens); ++t)
    for (std::size_t r = 0; r < stride; ++r) {
      const std::size_t at = t * stride + r;
      const bool inside = r < w.rows && r / 16 >= static_cast<std::size_t>(begin);
      if (float_bits(part[at]) != float_bits(inside ? y[at] : -1.0f)) ++differ;
      if (t >= first && float_bits(few[at - first * stride]) != float_bits(y[at])) ++differ;
    }
  CHECK(differ == 0);
}

}  // namespace

TEST_CASE("expanded panels are the decoded weights, rounded to bfloat16") {
  for_each_tile_type([&](DType type, const DTypeTraits& traits) {
    const StoredMatrix w(type, 21, columns_of(traits, 160), 1);
    const auto panels = panels_of(plain_panels(), w);
    const auto y = weights_by_products(kPlainTiles, w, panels);
    double worst = 0;
    for (std::size_t r = 0; r < w.rows; ++r)
      for (std::size_t c = 0; c < w.cols; ++c) {
        const double value = w.values[r * w.cols + c];
        const float got = y[c * (w.rows + 3) + r];
        CHECK((float_bits(got) & 0xffffu) == 0);
        // decode() rounds steps and minimums apart: up to 2^-22 of the largest weights (below 5).
        keep_worst(worst, (std::fabs(static_cast<double>(got) - value) - 0x1p-19) /
                              std::fmax(std::fabs(value), 1e-30));
      }
    CHECK(worst <= 0x1p-8);
  });
}

TEST_CASE("products of many tokens differ by the rounding of both operands to bfloat16") {
  for_each_tile_case([](const StoredMatrix& w, const std::vector<float>& x, int n_tokens) {
    const auto panels = panels_of(plain_panels(), w);
    const auto y = multiply_panels_of(kPlainTiles, w, panels, x, n_tokens, 0, panels_in(w));
    CHECK(worst_error(w, x, n_tokens, y) < kBound);
    check_parts(kPlainTiles, w, panels, x, n_tokens, y);
  });
}

TEST_CASE("sums of tiles round as the instruction's description says") {
  alignas(64) std::uint32_t a[16][16] = {}, b[16][16] = {}, c[16][16] = {};
  const auto pair = [](float first, float second) {
    return static_cast<std::uint32_t>(float_to_bfloat(first)) |
           static_cast<std::uint32_t>(float_to_bfloat(second)) << 16;
  };
  const auto product = [&] {
    PlainTiles tiles;
    tiles.load<0>(c, 64);
    tiles.load<4>(a, 64);
    tiles.load<6>(b, 64);
    tiles.add_product<0, 4, 6>();
    alignas(64) std::uint32_t sum[16][16];
    tiles.store<0>(sum, 64);
    return bits_float(sum[3][5]);
  };
  b[0][5] = b[1][5] = pair(1, 1);
  a[3][0] = pair(0x1p24f, 1);
  a[3][1] = pair(0, 1);
  CHECK(product() == 0x1p24f + 2);  // one after the other each 1 would be lost
  c[3][5] = float_bits(-0x1p24f);
  CHECK(product() == 2);
  a[3][0] = a[3][1] = pair(0, 0x1p-130f);
  c[3][5] = float_bits(0x1p-130f);
  b[0][5] = pair(1, 0x1p10f);
  CHECK(product() == 0);  // subnormal numbers are 0
}

TEST_CASE("AVX-512 expands weights and rounds activations as plain tiles do") {
  std::vector<const PanelProducts*> ways;
  if (kernel_table("avx2")) ways.push_back(&kEmulatedExpansion);
  if (kernel_table("avx512_vnni") && has_avx512_bf16())
    ways.push_back(&kAvx512Expansion);
  else
    MESSAGE("AVX-512 with BF16 is not there: emulated");
  for_each_tile_case([&](const StoredMatrix& w, const std::vector<float>& x, int n_tokens) {
    if (n_tokens > 32) return;
    const auto panels = panels_of(plain_panels(), w);
    const auto y = multiply_panels_of(kPlainTiles, w, panels, x, n_tokens, 0, panels_in(w));
    for (const PanelProducts* way : ways)
      CHECK(equal_bits(y, multiply_panels_of(*way, w, panels, x, n_tokens, 0, panels_in(w))));
  });
}

TEST_CASE("many tokens in every set that has a way for them: as with plain tiles") {
  int n_sets = 0;
  for_each_panel_set([&](const PanelKernels& kernels) {
    if (kernels.tiles.widest_tile == 0) return;
    ++n_sets;
    int n_types = 0;
    for_each_tile_case([&](const StoredMatrix& w, const std::vector<float>& x, int n_tokens) {
      const PanelProducts& way = kernels.products(w.type, n_tokens);
      if (&way != &kernels.tiles) return;
      ++n_types;
      const auto panels = panels_of(kernels, w);
      const auto y = multiply_panels_of(way, w, panels, x, n_tokens, 0, panels_in(w));
      auto plain = multiply_panels_of(kPlainTiles, w, panels, x, n_tokens, 0, panels_in(w));
      CHECK(worst_error(w, x, n_tokens, y) < kBound);
      // The operands are the same; hardware may sum a step in another order.
      double worst = 0, largest = 0;
      for (std::size_t i = 0; i < y.size(); ++i) {
        keep_worst(worst, std::fabs(static_cast<double>(y[i]) - static_cast<double>(plain[i])));
        largest = std::fmax(largest, std::fabs(static_cast<double>(plain[i])));
      }
      CHECK(worst <= 0x1p-18 * largest);
      check_parts(way, w, panels, x, n_tokens, y);
    });
    CHECK(n_types > 0);
  });
  if (n_sets == 0) MESSAGE("skipped: no set here has a way for many tokens");
}
