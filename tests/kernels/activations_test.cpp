// Activations as codes: what panels.h's way of few tokens makes of them, in every set.
#include "kernels/panels/activations.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/panel_data.h"

namespace {

using namespace lq::kernels;
using namespace lq::test;

/// Token t of a tile.
struct BlockToken {
  using X = Activations;
  const std::byte* block;
  int width, t;

  template <class Number>
  Number at(int from, int i, int per) const {
    Number number;
    std::memcpy(&number,
                block + from * width +
                    static_cast<int>(sizeof number) * ((i / per * width + t) * per + i % per),
                sizeof number);
    return number;
  }
  int code(int column) const { return at<std::int8_t>(0, column, 4); }
  double ratio(int run) const { return at<float>(X::kRatio, run, 1); }
  double scale() const { return at<float>(X::kScale, 0, 1); }
};

std::vector<std::byte> activation_tile(const PanelProducts& way, const std::vector<float>& x,
                                       int cols, int n_tokens, int width) {
  std::vector<std::byte> tile(way.activation_bytes(cols) * static_cast<std::size_t>(width));
  way.quantize({.x = x.data(),
                .stride = static_cast<std::size_t>(cols),
                .cols = cols,
                .n_tokens = n_tokens,
                .width = width,
                .tile = tile.data()});
  return tile;
}

/// Normal values; runs of a thousandth, of zeros, of a millionth, of one outlier.
std::vector<float> uneven_activations(int n_tokens, int cols) {
  std::vector<float> x = normal_values(static_cast<std::size_t>(n_tokens * cols), 7);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t run = i / 32 % 11;
    if (run == 3) x[i] *= 1e-3f;
    if (run == 5) x[i] = 0;
    if (run == 8) x[i] *= 1e-8f;
    if (run == 9 && i % 32 == 0) x[i] = 50;
  }
  return x;
}

/// Everything a block says of token t is what its codes and ratios give.
void check_block_sums(const BlockToken& token) {
  using X = Activations;
  for (int run = 0; run < X::kRuns; ++run) {
    int sum[2] = {};
    for (int c = 0; c < 32; ++c) sum[c / 16] += token.code(32 * run + c);
    const double ratio = token.ratio(run);
    for (int i = 0; i < 2; ++i) {
      CHECK(token.at<std::int16_t>(X::kPairs, 2 * run + i, 2) == sum[i]);
      CHECK(token.at<std::int32_t>(X::kSums, 3 * run + 1 + i, 1) == -sum[i]);
      CHECK(token.at<std::int16_t>(X::kHalfSums, 2 * run + i, 2) ==
            std::nearbyint(ratio * X::kHalfSumUnits * sum[i]));
    }
    CHECK(token.at<std::int32_t>(X::kSums, 3 * run, 1) == -sum[0] - sum[1]);
    CHECK(token.at<std::int16_t>(X::kRunSums, run, 2) ==
          std::nearbyint(ratio * X::kRunSumUnits * (sum[0] + sum[1])));
    const auto step = token.at<std::uint32_t>(X::kStep, run, 1);
    const auto quarters = token.at<std::uint8_t>(X::kQuarters, run, 1);
    CHECK(step % (1u << 23) == 0);
    CHECK(quarters % 64 == 0);
    CHECK(ratio == std::ldexp(1 + quarters / 256.0, -static_cast<int>(step >> 23)));
  }
}

}  // namespace

TEST_CASE("activations: codes times ratio and scale are the values, as near as the ratio allows") {
  using X = Activations;
  constexpr int kCols = 5 * 256 - 70, kTokens = 3;
  const std::vector<float> x = uneven_activations(kTokens, kCols);
  const auto tile = activation_tile(plain_panels().few, x, kCols, kTokens, 4);
  for (int t = 0; t < 4; ++t)
    for (int i = 0; i < activation_blocks(kCols); ++i) {
      const BlockToken token{tile.data() + static_cast<std::ptrdiff_t>(i) * 4 * X::kTokenBytes, 4,
                             t};
      const auto value = [&](int c) {
        const int column = 256 * i + c;
        return t < kTokens && column < kCols
                   ? x[static_cast<std::size_t>(t) * kCols + static_cast<std::size_t>(column)]
                   : 0.0f;
      };
      check_block_sums(token);
      for (int run = 0; run < X::kRuns; ++run) {
        const double unit = token.scale() * token.ratio(run);
        double peak = 0;
        for (int c = 32 * run; c < 32 * run + 32; ++c) {
          peak = std::fmax(peak, std::fabs(value(c)));
          CHECK(std::fabs(value(c) - unit * token.code(c)) <= 0.5001 * unit);
        }
        CHECK(peak <= 127.001 * unit);
        // The next smaller ratio would not do.
        if (token.ratio(run) > 1e-6) CHECK(peak >= 127 * unit / 1.2501);
      }
    }
}

TEST_CASE("activations: every set writes the same bytes, a tile or a token at a time") {
  constexpr int kCols = 3 * 256 + 32;
  for_each_panel_set([&](const PanelKernels& kernels) {
    for (int width = 1; width <= kernels.few.widest_tile; width *= 2)
      for (const int n_tokens : {width, width / 2 + 1}) {
        CAPTURE(width);
        std::vector<float> x = uneven_activations(n_tokens, kCols);
        for (std::size_t i = 0; i < 256; ++i) x[i] *= n_tokens == width ? 1e-36f : 1e30f;
        CHECK(activation_tile(kernels.few, x, kCols, n_tokens, width) ==
              activation_tile(plain_panels().few, x, kCols, n_tokens, width));
      }
  });
}
