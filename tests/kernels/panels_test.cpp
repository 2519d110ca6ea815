// Products with panels: the plain ones against binary64, every set's against the plain ones, bit
// for bit.
#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "kernels/cpu/kernel_table.h"
#include "tests/support/kernel_data.h"

namespace {

using namespace lq::kernels;
using namespace lq::test;
using lq::DType;
using lq::DTypeTraits;

/// Panels of a stored matrix.
std::vector<std::byte> panels_of(const PanelKernels& kernels, const StoredMatrix& w) {
  const PanelTraits& traits = panel_traits(w.type);
  const int rows = static_cast<int>(w.rows), cols = static_cast<int>(w.cols);
  const std::size_t panel_bytes = traits.panel_bytes(cols);
  std::vector<std::byte> panels(panel_bytes * (w.rows + 15) / 16 + panel_bytes);
  for (int first = 0; first < rows; first += 16)
    kernels.encode[lq::index_of(w.type)](
        w.bytes.data() + static_cast<std::size_t>(first) * w.row_bytes, w.row_bytes,
        std::min(rows - first, 16), cols,
        panels.data() + static_cast<std::size_t>(first / 16) * panel_bytes);
  return panels;
}

std::vector<std::byte> quantized(const PanelKernels& kernels, const std::vector<float>& x,
                                 int n_tokens, int cols) {
  const int width = tile_width(n_tokens, kernels.widest_tile);
  const std::size_t token_bytes = activation_bytes(cols);
  std::vector<std::byte> tiles;
  for (int t = 0; t < n_tokens; t += width) {
    tiles.resize(tiles.size() + token_bytes * static_cast<std::size_t>(width), std::byte{0x55});
    kernels.quantize({.x = x.data() + static_cast<std::ptrdiff_t>(t) * cols,
                      .stride = static_cast<std::size_t>(cols),
                      .cols = cols,
                      .n_tokens = std::min(width, n_tokens - t),
                      .width = width,
                      .tile = tiles.data() + static_cast<std::size_t>(t) * token_bytes});
  }
  return tiles;
}

/// y[t][r]; places beyond the panels keep -1.
std::vector<float> multiply(const PanelKernels& kernels, const StoredMatrix& w,
                            const std::vector<std::byte>& panels, const std::vector<float>& x,
                            int n_tokens, int begin, int end) {
  const int cols = static_cast<int>(w.cols);
  const PanelTraits& traits = panel_traits(w.type);
  const auto tiles =
      traits.floats ? std::vector<std::byte>() : quantized(kernels, x, n_tokens, cols);
  std::vector<float> y(static_cast<std::size_t>(n_tokens) * (w.rows + 3), -1);
  if (traits.floats) {
    kernels.multiply_floats[lq::index_of(w.type)]({.panels = panels.data(),
                                                   .rows = static_cast<int>(w.rows),
                                                   .cols = cols,
                                                   .panel_begin = begin,
                                                   .panel_end = end,
                                                   .x = x.data(),
                                                   .x_stride = w.cols,
                                                   .n_tokens = n_tokens,
                                                   .y = y.data(),
                                                   .y_stride = w.rows + 3});
    return y;
  }
  kernels.multiply[lq::index_of(w.type)]({.panels = panels.data(),
                                          .rows = static_cast<int>(w.rows),
                                          .cols = cols,
                                          .panel_begin = begin,
                                          .panel_end = end,
                                          .x = tiles.data(),
                                          .n_tokens = n_tokens,
                                          .y = y.data(),
                                          .y_stride = w.rows + 3});
  return y;
}

bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

template <class Check>
void for_each_panel_type(const Check& check) {
  lq::for_each_dtype([&](DType type, const DTypeTraits& traits) {
    if (!panel_traits(type).exists) return;
    CAPTURE(std::string(traits.name));
    check(type, traits);
  });
}

template <class Check>
void for_each_panel_set(const Check& check) {
  for (const KernelSet& set : kernel_sets()) {
    if (!set.supported) continue;
    CAPTURE(std::string(set.table->name));
    check(kernel_table(set.table->name)->panels);
  }
}

const PanelKernels& plain() { return kernel_table("generic")->panels; }

}  // namespace

TEST_CASE(
    "panels hold the weights: products are those of decoded weights and rounded activations") {
  constexpr int kRows = 37, kTokens = 3;
  for_each_panel_type([&](DType type, const DTypeTraits& traits) {
    for (const int blocks : {1, 3, 9, traits.values == 1 ? 515 : 17}) {
      const auto cols = static_cast<std::size_t>(traits.values * blocks);
      CAPTURE(cols);
      const StoredMatrix w(type, kRows, cols, 1);
      std::vector<float> x = normal_values(kTokens * cols, 2);
      // Whole numbers up to 127 that reach it in every block are their own codes.
      for (std::size_t i = 0; i < x.size(); ++i)
        x[i] =
            i % 32 == 0 ? 127.0f : std::nearbyint(std::fmin(std::fmax(40 * x[i], -127.0f), 127.0f));
      const auto panels = panels_of(plain(), w);
      const auto y = multiply(plain(), w, panels, x, kTokens, 0, 3);
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
      for (const int n_tokens : {1, 2, 3, 4, 5, 9, 131}) {
        CAPTURE(n_tokens);
        const auto cols = static_cast<std::size_t>(traits.values == 1    ? 677
                                                   : traits.values == 32 ? 32 * 21
                                                                         : 256 * 3);
        const StoredMatrix w(type, kRows, cols, 1);
        const auto x = normal_values(static_cast<std::size_t>(n_tokens) * cols, 3);
        const auto panels = panels_of(kernels, w);
        CHECK(panels == panels_of(plain(), w));
        const auto y = multiply(kernels, w, panels, x, n_tokens, 0, 4);
        CHECK(equal_bits(y, multiply(plain(), w, panels, x, n_tokens, 0, 4)));
        // A token alone, and a range of panels alone, have the same bits.
        const std::vector<float> last(x.end() - static_cast<std::ptrdiff_t>(cols), x.end());
        const auto one = multiply(kernels, w, panels, last, 1, 1, 3);
        for (std::size_t r = 0; r < kRows + 3; ++r) {
          const bool inside = r >= 16 && r < 48;
          CHECK(one[r] ==
                (inside ? y[(static_cast<std::size_t>(n_tokens) - 1) * (kRows + 3) + r] : -1.0f));
        }
      }
    });
  });
}

TEST_CASE("largest codes, activations and scales do not overflow the integers of any set") {
  for_each_panel_set([&](const PanelKernels& kernels) {
    for_each_panel_type([&](DType type, const DTypeTraits& traits) {
      if (panel_traits(type).floats) return;
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
          CHECK(equal_bits(multiply(kernels, w, panels, x, 5, 0, 1),
                           multiply(plain(), w, panels, x, 5, 0, 1)));
        }
      }
    });
  });
}
