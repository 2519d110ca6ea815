#pragma once
// Panels, activations and products of stored matrices.
#include <cstring>
#include <string>

#include <doctest/doctest.h>

#include "kernels/cpu/kernel_table.h"
#include "tests/support/kernel_data.h"
#include "tests/support/panel_tiles.h"

namespace lq::test {

/// Panels of a stored matrix.
inline std::vector<std::byte> panels_of(const kernels::PanelKernels& kernels,
                                        const StoredMatrix& w) {
  const int rows = static_cast<int>(w.rows), cols = static_cast<int>(w.cols);
  const std::size_t panel_bytes = kernels::panel_traits(w.type).panel_bytes(cols);
  std::vector<std::byte> panels(panel_bytes * (w.rows + 15) / 16 + panel_bytes);
  for (int first = 0; first < rows; first += 16)
    kernels.encode[index_of(w.type)](
        w.bytes.data() + static_cast<std::size_t>(first) * w.row_bytes, w.row_bytes,
        std::min(rows - first, 16), cols,
        panels.data() + static_cast<std::size_t>(first / 16) * panel_bytes);
  return panels;
}

inline std::vector<std::byte> quantized(const kernels::PanelProducts& way,
                                        const std::vector<float>& x, int n_tokens, int cols) {
  const int width = kernels::tile_width(n_tokens, way.widest_tile);
  const std::size_t token_bytes = way.activation_bytes(cols);
  std::vector<std::byte> tiles;
  for (int t = 0; t < n_tokens; t += width) {
    tiles.resize(tiles.size() + token_bytes * static_cast<std::size_t>(width), std::byte{0x55});
    way.quantize({.x = x.data() + static_cast<std::ptrdiff_t>(t) * cols,
                  .stride = static_cast<std::size_t>(cols),
                  .cols = cols,
                  .n_tokens = std::min(width, n_tokens - t),
                  .width = width,
                  .tile = tiles.data() + static_cast<std::size_t>(t) * token_bytes});
  }
  return tiles;
}

/// One tile of `width` tokens, of which the first n_tokens exist.
inline std::vector<std::byte> activation_tile(const kernels::PanelProducts& way,
                                              const std::vector<float>& x, int cols, int n_tokens,
                                              int width) {
  std::vector<std::byte> tile(way.activation_bytes(cols) * static_cast<std::size_t>(width));
  way.quantize({.x = x.data(),
                .stride = static_cast<std::size_t>(cols),
                .cols = cols,
                .n_tokens = n_tokens,
                .width = width,
                .tile = tile.data()});
  return tile;
}

/// Token t of a block of a tile.
struct BlockToken {
  const std::byte* block;
  int width, t;

  /// Number i of those that begin at `from`, `per` of a token together.
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
};

/// Normal values; runs of a thousandth, of a tenth, of zeros, of 1e-8, of one outlier.
inline std::vector<float> uneven_activations(int n_tokens, int cols) {
  std::vector<float> x = normal_values(static_cast<std::size_t>(n_tokens * cols), 7);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t run = i / 32 % 11;
    if (run == 3) x[i] *= 1e-3f;
    if (run == 4) x[i] *= 0.1f;
    if (run == 5) x[i] = 0;
    if (run == 8) x[i] *= 1e-8f;
    if (run == 9 && i % 32 == 0) x[i] = 50;
  }
  return x;
}

/// y[t][r], rows of w.rows + 3 values; places beyond the panels keep -1.
inline std::vector<float> multiply_panels_of(const kernels::PanelProducts& way,
                                             const StoredMatrix& w,
                                             const std::vector<std::byte>& panels,
                                             const std::vector<float>& x, int n_tokens, int begin,
                                             int end) {
  const int cols = static_cast<int>(w.cols);
  std::vector<float> y(static_cast<std::size_t>(n_tokens) * (w.rows + 3), -1);
  if (way.multiply_floats[index_of(w.type)]) {
    way.multiply_floats[index_of(w.type)]({.panels = panels.data(),
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
  const auto tiles = quantized(way, x, n_tokens, cols);
  way.multiply[index_of(w.type)]({.panels = panels.data(),
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

/// The weights as a way multiplies them: y[c][r], rows of w.rows + 3 values. Token c is 1 in column
/// c alone.
inline std::vector<float> weights_by_products(const kernels::PanelProducts& way,
                                              const StoredMatrix& w,
                                              const std::vector<std::byte>& panels) {
  std::vector<float> x(w.cols * w.cols);
  for (std::size_t c = 0; c < w.cols; ++c) x[c * w.cols + c] = 1;
  return multiply_panels_of(way, w, panels, x, static_cast<int>(w.cols), 0,
                            static_cast<int>(w.rows + 15) / 16);
}

/// Random codes, zeros and scales of groups, also such as no encoder writes. What stands first or
/// last in a block stays: the scales that are floats.
inline void shuffle_codes(StoredMatrix& w, std::uint32_t seed) {
  std::mt19937 generator(seed);
  const std::size_t block = traits(w.type).bytes;
  for (std::size_t i = 0; i < w.bytes.size(); ++i)
    if (i % block >= 4 && i % block + 4 < block) w.bytes[i] = std::byte(generator() & 0xff);
  traits(w.type).decode(w.bytes.data(), w.values.data(), w.values.size());
}

/// Whole numbers up to 127 that reach it in every 32: as activations they are their own codes.
inline std::vector<float> whole_values(std::size_t n, std::uint32_t seed) {
  std::vector<float> x = normal_values(n, seed);
  for (std::size_t i = 0; i < n; ++i)
    x[i] = i % 32 == 0 ? 127.0f : std::nearbyint(std::fmin(std::fmax(40 * x[i], -127.0f), 127.0f));
  return x;
}

inline bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

template <class Check>
void for_each_panel_type(const Check& check) {
  for_each_dtype([&](DType type, const DTypeTraits& traits) {
    if (!kernels::panel_traits(type).exists) return;
    CAPTURE(std::string(traits.name));
    check(type, traits);
  });
}

/// Types whose panels hold integer codes.
template <class Check>
void for_each_code_panel_type(const Check& check) {
  for_each_panel_type([&](DType type, const DTypeTraits& traits) {
    if (!kernels::panel_traits(type).floats) check(type, traits);
  });
}

/// Products of codes that no set has, or that run here although their set does not.
struct StandIn {
  const char* name;
  const kernels::PanelProducts &few, &requantized;
  const char* needs;  ///< the set that says whether the machine runs them
};
inline const StandIn kStandIns[] = {
    {"avx512_vnni, emulated", kEmulatedVnni512, kEmulatedRequantized512, "avx2"},
    {"avx_vnni, emulated", kEmulatedVnni256, kEmulatedRequantized256, "avx2"},
    {"avx_vnni, EVEX encodings", kEvexVnni, kEvexRequantized, "avx512_vnni"}};

template <class Check>
void for_each_panel_set(const Check& check) {
  for (const kernels::KernelSet& set : kernels::kernel_sets()) {
    if (!set.supported) continue;
    CAPTURE(std::string(set.table->name));
    check(kernels::kernel_table(set.table->name)->panels);
  }
  for (const StandIn& products : kStandIns) {
    CAPTURE(std::string(products.name));
    if (!kernels::kernel_table(products.needs)) {
      MESSAGE("skipped: " << products.name << ", for which the machine lacks " << products.needs);
      continue;
    }
    kernels::PanelKernels panels = kernels::kernel_table("avx2")->panels;
    panels.few.widest_tile = products.few.widest_tile;
    std::copy(std::begin(products.few.multiply), std::end(products.few.multiply),
              panels.few.multiply);
    panels.requantized = products.requantized;
    check(panels);
  }
}

/// The kernels that every set is compared with.
inline const kernels::PanelKernels& plain_panels() {
  return kernels::kernel_table("generic")->panels;
}

}  // namespace lq::test
