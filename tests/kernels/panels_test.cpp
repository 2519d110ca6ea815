// Products with panels: the plain ones against binary64, every set's against the plain ones, bit
// for bit.
#include <doctest/doctest.h>

#include "tests/support/panel_data.h"

namespace {

using namespace lq::kernels;
using namespace lq::test;
using lq::DType;
using lq::DTypeTraits;

}  // namespace

TEST_CASE(
    "panels hold the weights: products are those of decoded weights and rounded activations") {
  constexpr int kRows = 37, kTokens = 3;
  for_each_panel_type([&](DType type, const DTypeTraits& traits) {
    for (const int blocks : {1, 3, 9, traits.values == 1 ? 515 : 17, 7}) {
      const auto cols = static_cast<std::size_t>(traits.values * blocks);
      CAPTURE(cols);
      StoredMatrix w(type, kRows, cols, 1);
      if (blocks == 7) shuffle_codes(w, 3);
      const std::vector<float> x = whole_values(kTokens * cols, 2);
      const auto panels = panels_of(plain_panels(), w);
      const auto y = multiply_panels_of(plain_panels().few, w, panels, x, kTokens, 0, 3);
      double worst = 0;
      for (std::size_t t = 0; t < kTokens; ++t)
        for (std::size_t r = 0; r < kRows; ++r) {
          const Dot dot(w.values.data() + r * cols, x.data() + t * cols, cols);
          keep_worst(worst, std::fabs(static_cast<double>(y[t * (kRows + 3) + r]) - dot.sum) /
                                dot.magnitude);
        }
      CHECK(worst < 1e-6);
    }
  });
}

TEST_CASE("every set makes the same panels, and the same products to the bit") {
  constexpr int kRows = 53;
  for_each_panel_set([&](const PanelKernels& kernels) {
    for_each_panel_type([&](DType type, const DTypeTraits& traits) {
      for (const int n_tokens : {1, 2, 3, 4, 5, 9, 17, 131}) {
        CAPTURE(n_tokens);
        // An odd number of blocks: the last tile is not full. Of long rows, parts of the columns
        // are multiplied with all tokens before the next.
        const int about = n_tokens == 9 ? 4421 : n_tokens % 2 == 1 ? 677 : 679;
        const auto cols = static_cast<std::size_t>(traits.values * (about / traits.values | 1));
        StoredMatrix w(type, kRows, cols, 1);
        if (n_tokens == 9) shuffle_codes(w, 2);
        const auto x = normal_values(static_cast<std::size_t>(n_tokens) * cols, 3);
        const auto panels = panels_of(kernels, w);
        CHECK(panels == panels_of(plain_panels(), w));
        const auto y = multiply_panels_of(kernels.few, w, panels, x, n_tokens, 0, 4);
        CHECK(equal_bits(y, multiply_panels_of(plain_panels().few, w, panels, x, n_tokens, 0, 4)));
        // A token alone, and a range of panels alone, have the same bits.
        const std::vector<float> last(x.end() - static_cast<std::ptrdiff_t>(cols), x.end());
        const auto one = multiply_panels_of(kernels.few, w, panels, last, 1, 1, 3);
        for (std::size_t r = 0; r < kRows + 3; ++r) {
          const bool inside = r >= 16 && r < 48;
          CHECK(one[r] ==
                (inside ? y[(static_cast<std::size_t>(n_tokens) - 1) * (kRows + 3) + r] : -1.0f));
        }
      }
    });
  });
}

TEST_CASE("whole numbers times codes of integers give exact sums in every set") {
  for_each_panel_set([&](const PanelKernels& kernels) {
    for (const DType type : {DType::I4_32, DType::I4_128, DType::I8_32, DType::I8_128}) {
      CAPTURE(std::string(lq::traits(type).name));
      constexpr std::size_t kRows = 19, kCols = 640;
      StoredMatrix w(type, kRows, kCols, 1);
      shuffle_codes(w, 4);
      const float one = 1;
      for (std::size_t i = 0; i < w.bytes.size(); i += lq::traits(type).bytes)
        std::memcpy(w.bytes.data() + i, &one, sizeof one);
      lq::traits(type).decode(w.bytes.data(), w.values.data(), w.values.size());
      const auto panels = panels_of(kernels, w);
      for (const int n_tokens : {1, 2, 4, 7, 130}) {
        CAPTURE(n_tokens);
        const auto n = static_cast<std::size_t>(n_tokens);
        const auto x = whole_values(n * kCols, 5);
        const auto y = multiply_panels_of(kernels.few, w, panels, x, n_tokens, 0, 2);
        int differ = 0;
        for (std::size_t t = 0; t < n; ++t)
          for (std::size_t r = 0; r < kRows; ++r) {
            const Dot dot(w.values.data() + r * kCols, x.data() + t * kCols, kCols);
            if (static_cast<double>(y[t * (kRows + 3) + r]) != dot.sum) ++differ;
          }
        CHECK(differ == 0);
      }
    }
  });
}

TEST_CASE("largest codes, activations and scales do not overflow the integers of any set") {
  for_each_panel_set([&](const PanelKernels& kernels) {
    for_each_code_panel_type([&](DType type, const DTypeTraits& traits) {
      const std::size_t cols = 512;
      for (const int fill : {0xff, 0x7f, 0x80, 0x00, 0x0f, 0xf0}) {
        CAPTURE(fill);
        StoredMatrix w(type, 16, cols, 1);
        // Everything but the binary16 scales, which stay as they are.
        const StoredMatrix scaled = w;
        std::memset(w.bytes.data(), fill, w.bytes.size());
        for (std::size_t i = 0; i < w.bytes.size(); i += traits.bytes)
          for (std::size_t at = 0; at + 1 < traits.bytes; ++at) {
            // A scale of all ones would be NaN: bits of the exponent are cleared everywhere they
            // could stand.
            const bool head = at < 4, tail = at + 4 >= traits.bytes;
            if (head || tail) w.bytes[i + at] = scaled.bytes[i + at];
          }
        for (const float sign : {1.0f, -1.0f}) {
          const std::vector<float> x(5 * cols, sign);
          const auto panels = panels_of(kernels, w);
          CHECK(equal_bits(multiply_panels_of(kernels.few, w, panels, x, 5, 0, 1),
                           multiply_panels_of(plain_panels().few, w, panels, x, 5, 0, 1)));
        }
      }
    });
  });
}
