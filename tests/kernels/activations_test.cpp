// Activations as codes: what panels.h's way of few tokens makes of them, in every set.
#include "kernels/panels/activations.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tests/support/panel_data.h"

namespace {

using namespace lq::kernels;
using namespace lq::test;

double ratio_of(const BlockToken& token, int run) {
  return static_cast<double>(token.at<float>(Activations::kRatio, run, 1));
}

/// Everything a block says of token t is what its codes and ratios give.
void check_block_sums(const BlockToken& token) {
  using X = Activations;
  for (int run = 0; run < X::kRuns; ++run) {
    int sum[2] = {};
    for (int c = 0; c < 32; ++c) sum[c / 16] += token.code(32 * run + c);
    const double ratio = ratio_of(token, run);
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
      const double scale = static_cast<double>(token.at<float>(X::kScale, 0, 1));
      const auto value = [&](int c) {
        const int column = 256 * i + c;
        return t < kTokens && column < kCols
                   ? x[static_cast<std::size_t>(t) * kCols + static_cast<std::size_t>(column)]
                   : 0.0f;
      };
      check_block_sums(token);
      for (int run = 0; run < X::kRuns; ++run) {
        const double unit = scale * ratio_of(token, run);
        double peak = 0;
        for (int c = 32 * run; c < 32 * run + 32; ++c) {
          peak = std::fmax(peak, std::fabs(value(c)));
          CHECK(std::fabs(value(c) - unit * token.code(c)) <= 0.5001 * unit);
        }
        CHECK(peak <= 127.001 * unit);
        // The next smaller ratio would not do.
        if (ratio_of(token, run) > 1e-6) CHECK(peak >= 127 * unit / 1.2501);
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
