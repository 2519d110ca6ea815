#include "lib/backend/cpu_products.h"

#include <doctest/doctest.h>

#include "tests/support/panel_data.h"
#include "tests/support/panel_tiles.h"

using namespace lq::test;
using lq::DType;

TEST_CASE("products take the way of the set for their number of tokens, whatever the threads") {
  lq::kernels::KernelTable table = *lq::kernels::kernel_table("generic");
  table.panels.tiles = kPlainTiles;
  table.panels.tiles.least_tokens = 20;
  constexpr int kCols = 288, kRows = 83;
  const StoredMatrix w(DType::Q4_0, kRows, kCols, 1);
  const auto panels = panels_of(table.panels, w);
  const lq::WeightView weight{w.type, panels.data(), kRows, kCols, true};
  const std::vector<float> norm = normal_values(kCols, 2);
  for (const int threads : {1, 3}) {
    CAPTURE(threads);
    lq::ThreadPool pool(threads);
    lq::CpuProducts products(pool, table);
    for (const int n_tokens : {3, 19, 20, 33, 70, 5}) {
      CAPTURE(n_tokens);
      const auto n = static_cast<std::size_t>(n_tokens);
      std::vector<float> x = normal_values(n * kCols, 3), normed(x.size()), y(n * kRows);
      const lq::Product product{&weight, {y.data(), n_tokens, kRows}};
      products.run({.x = {x.data(), n_tokens, kCols},
                    .norm = norm.data(),
                    .eps = 1e-5f,
                    .normed = {normed.data(), n_tokens, kCols}},
                   {&product, 1}, [](int, lq::RowRange) {});
      for (std::size_t t = 0; t < n; ++t)
        table.rms_norm(x.data() + t * kCols, norm.data(), 1e-5f, kCols, x.data() + t * kCols);
      CHECK(equal_bits(normed, x));
      const auto& way = n_tokens < 20 ? table.panels.few : kPlainTiles;
      const auto expected = multiply_panels_of(way, w, panels, x, n_tokens, 0, 6);
      int differ = 0;
      for (std::size_t t = 0; t < n; ++t)
        for (std::size_t r = 0; r < kRows; ++r)
          if (y[t * kRows + r] != expected[t * (kRows + 3) + r]) ++differ;
      CHECK(differ == 0);
    }
  }
}

TEST_CASE("one job may need activations in the forms of both ways") {
  lq::kernels::KernelTable table = *lq::kernels::kernel_table("generic");
  table.panels.tiles = kPlainTiles;
  table.panels.tiles.multiply[lq::index_of(DType::Q4_0)] = nullptr;
  table.panels.tiles.least_tokens = 20;
  constexpr int kCols = 288, kRows = 83, kTokens = 37;
  const std::vector<float> x = normal_values(std::size_t{kTokens} * kCols, 3);
  for (const int threads : {1, 3}) {
    CAPTURE(threads);
    lq::ThreadPool pool(threads);
    lq::CpuProducts products(pool, table);
    std::vector<lq::WeightView> weights;
    std::vector<lq::Product> wanted;
    std::vector<std::vector<std::byte>> panels;
    std::vector<std::vector<float>> y(3, std::vector<float>(std::size_t{kTokens} * kRows));
    constexpr DType kTypes[] = {DType::Q4_0, DType::BF16, DType::F32};  // few, many, as they are
    for (const DType type : kTypes) {
      panels.push_back(panels_of(table.panels, StoredMatrix(type, kRows, kCols, 1)));
      weights.push_back({type, panels.back().data(), kRows, kCols, true});
    }
    for (std::size_t i = 0; i < 3; ++i)
      wanted.push_back({&weights[i], {y[i].data(), kTokens, kRows}});
    std::vector<float> input = x;
    products.run({.x = {input.data(), kTokens, kCols}}, wanted, [](int, lq::RowRange) {});
    for (std::size_t i = 0; i < 3; ++i) {
      CAPTURE(i);
      const auto& way = table.panels.products(kTypes[i], kTokens);
      CHECK((&way == &table.panels.tiles) == (kTypes[i] == DType::BF16));
      const auto expected = multiply_panels_of(way, StoredMatrix(kTypes[i], kRows, kCols, 1),
                                               panels[i], x, kTokens, 0, 6);
      int differ = 0;
      for (std::size_t t = 0; t < kTokens; ++t)
        for (std::size_t r = 0; r < kRows; ++r)
          if (y[i][t * kRows + r] != expected[t * (kRows + 3) + r]) ++differ;
      CHECK(differ == 0);
    }
  }
}
