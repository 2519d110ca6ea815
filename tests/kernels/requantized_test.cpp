// Products of many tokens with weights of 8 bits: the plain ones against decoded weights, every
// set's against the plain ones, bit for bit.
#include "kernels/panels/requantized.h"

#include <doctest/doctest.h>

#include "tests/support/panel_data.h"

namespace {

using namespace lq::kernels;
using namespace lq::test;
using lq::DType;
using lq::DTypeTraits;
using X = RequantizedActivations;

/// Types that are requantized, with a matrix of about `about` columns of each.
template <class Check>
void for_each_requantized_type(std::size_t rows, int about, const Check& check) {
  int n_types = 0;
  for_each_code_panel_type([&](DType type, const DTypeTraits& traits) {
    if (!kPlainRequantized.multiply[index_of(type)]) return;
    ++n_types;
    check(StoredMatrix(type, rows,
                       static_cast<std::size_t>(traits.values * (about / traits.values | 1)), 1));
  });
  CHECK(n_types >= 10);
}

/// Sets that have such products.
template <class Check>
void for_each_requantizing_set(const Check& check) {
  int n_sets = 0;
  for_each_panel_set([&](const PanelKernels& kernels) {
    if (kernels.requantized.widest_tile == 0) return;
    ++n_sets;
    check(kernels.requantized);
  });
  if (n_sets == 0) MESSAGE("skipped: no set here requantizes, and none can be emulated");
}

}  // namespace

TEST_CASE("requantized weights are the decoded ones, rounded to 254 steps of 256 columns") {
  for_each_requantized_type(21, 600, [](StoredMatrix w) {
    for (const bool shuffled : {false, true}) {
      if (shuffled) shuffle_codes(w, 3);
      const auto panels = panels_of(plain_panels(), w);
      const auto y = weights_by_products(kPlainRequantized, w, panels);
      double worst = 0;
      for (std::size_t r = 0; r < w.rows; ++r)
        for (std::size_t first = 0; first < w.cols; first += 256) {
          const std::size_t end = std::min(first + 256, w.cols);
          double largest = 0;
          for (std::size_t c = first; c < end; ++c)
            largest = std::fmax(largest, std::fabs(static_cast<double>(w.values[r * w.cols + c])));
          for (std::size_t c = first; c < end; ++c) {
            const double error = static_cast<double>(y[c * (w.rows + 3) + r]) -
                                 static_cast<double>(w.values[r * w.cols + c]);
            keep_worst(worst, std::fabs(error) / (largest / 127));
          }
        }
      // Half a step, the rounding of a code's own step, and steps are made for codes that do not
      // occur: a group may not use its largest.
      CHECK(worst > 0.3);
      CHECK(worst < (shuffled ? 1.1 : 0.9));
    }
  });
}

TEST_CASE("activations for requantized weights: a power of two a run, and what sums begin with") {
  constexpr int kCols = 5 * 256 - 70, kTokens = 5;
  const std::vector<float> x = uneven_activations(kTokens, kCols);
  const auto tile_of = [&](const PanelProducts& way, const std::vector<float>& values) {
    return activation_tile(way, values, kCols, kTokens, kRequantizedTile);
  };
  const auto tile = tile_of(kPlainRequantized, x);
  for (int t = 0; t < kRequantizedTile; ++t)
    for (int i = 0; i < activation_blocks(kCols); ++i) {
      const BlockToken token{
          tile.data() + static_cast<std::ptrdiff_t>(i) * kRequantizedTile * X::kTokenBytes,
          kRequantizedTile, t};
      const double scale = static_cast<double>(token.at<float>(X::kScale, 0, 1));
      int begin = 0;
      for (int run = 0; run < X::kRuns; ++run) {
        const int shift = token.at<std::int32_t>(X::kShifts, run, 1);
        REQUIRE(shift >= 0);
        REQUIRE(shift <= X::kLargestShift);
        const double unit = scale * std::ldexp(1.0, shift - X::kLargestShift);
        double peak = 0;
        for (int c = 32 * run; c < 32 * run + 32; ++c) {
          const int column = 256 * i + c, code = token.code(c);
          const bool there = t < kTokens && column < kCols;
          const double value =
              there ? static_cast<double>(x[static_cast<std::size_t>(t * kCols + column)]) : 0;
          CHECK(std::fabs(value - unit * code) <= 0.5001 * unit);
          peak = std::fmax(peak, std::fabs(value));
          begin -= 128 * code * (1 << shift);
        }
        CHECK(peak <= 127.001 * unit);
        if (shift > 0) CHECK(peak >= 127 * unit / 2.0001);
      }
      CHECK(token.at<std::int32_t>(X::kBegin, 0, 1) == begin);
    }
  for_each_requantizing_set([&](const PanelProducts& way) {
    CHECK(tile_of(way, x) == tile);
    for (const float factor : {1e-36f, 1e30f}) {
      auto scaled = x;
      for (float& value : scaled) value *= factor;
      CHECK(tile_of(way, scaled) == tile_of(kPlainRequantized, scaled));
    }
  });
}

TEST_CASE("requantized products: near the exact ones, in every set the plain ones' bits") {
  constexpr std::size_t kRows = 53;
  for (const auto& tokens_and_columns : {std::pair{32, 2900}, {35, 677}, {131, 250}}) {
    const int n_tokens = tokens_and_columns.first, about = tokens_and_columns.second;
    CAPTURE(n_tokens);
    for_each_requantized_type(kRows, about, [&](StoredMatrix w) {
      if (n_tokens == 35) shuffle_codes(w, 2);
      const auto x = normal_values(static_cast<std::size_t>(n_tokens) * w.cols, 3);
      const auto panels = panels_of(plain_panels(), w);
      const auto plain = multiply_panels_of(kPlainRequantized, w, panels, x, n_tokens, 0, 4);
      double worst = 0;
      for (std::size_t t = 0; t < static_cast<std::size_t>(n_tokens); ++t)
        for (std::size_t r = 0; r < kRows; ++r) {
          const Dot dot(w.values.data() + r * w.cols, x.data() + t * w.cols, w.cols);
          keep_worst(worst, std::fabs(static_cast<double>(plain[t * (kRows + 3) + r]) - dot.sum) /
                                dot.magnitude);
        }
      CHECK(worst < 6e-3);
      const std::vector<float> last(x.end() - static_cast<std::ptrdiff_t>(32 * w.cols), x.end());
      for_each_requantizing_set([&](const PanelProducts& way) {
        CHECK(equal_bits(multiply_panels_of(way, w, panels, x, n_tokens, 0, 4), plain));
        // Other tokens beside them, and a range of panels alone, change no bit.
        const auto part = multiply_panels_of(way, w, panels, last, 32, 1, 3);
        int differ = 0;
        for (std::size_t t = 0; t < 32; ++t)
          for (std::size_t r = 0; r < kRows + 3; ++r) {
            const std::size_t of_all = t + static_cast<std::size_t>(n_tokens) - 32;
            const bool inside = r >= 16 && r < 48;
            if (part[t * (kRows + 3) + r] != (inside ? plain[of_all * (kRows + 3) + r] : -1.0f))
              ++differ;
          }
        CHECK(differ == 0);
      });
    });
  }
}

TEST_CASE("the largest weights and activations of one sign do not overflow a requantized sum") {
  for_each_requantized_type(16, 512, [](StoredMatrix w) {
    const std::size_t block = lq::traits(w.type).bytes;
    for (const int fill : {0xff, 0x7f, 0x00}) {
      CAPTURE(fill);
      for (std::size_t i = 0; i < w.bytes.size(); ++i)
        if (i % block >= 4 && i % block + 4 < block) w.bytes[i] = std::byte(fill);
      lq::traits(w.type).decode(w.bytes.data(), w.values.data(), w.values.size());
      const auto panels = panels_of(plain_panels(), w);
      for (const float sign : {1.0f, -1.0f}) {
        const std::vector<float> x(32 * w.cols, sign);
        const auto plain = multiply_panels_of(kPlainRequantized, w, panels, x, 32, 0, 1);
        for (std::size_t r = 0; r < w.rows; ++r) {
          const Dot dot(w.values.data() + r * w.cols, x.data(), w.cols);
          CHECK(std::fabs(static_cast<double>(plain[r]) - dot.sum) <= 0.02 * dot.magnitude);
        }
        for_each_requantizing_set([&](const PanelProducts& way) {
          CHECK(equal_bits(multiply_panels_of(way, w, panels, x, 32, 0, 1), plain));
        });
      }
    }
  });
}
