#pragma once
// What an instruction set offers for products with panels.
#include <cstddef>
#include <cstdint>

#include "kernels/blocks/dtype.h"
#include "kernels/panels/activations.h"

namespace lq::kernels {

inline constexpr int kPanelRows = 16;

/// y[t][r] = sum over c of W[r][c] * x[t][c], for the rows of panels [panel_begin, panel_end) and
/// all n_tokens of x. Single-threaded. The bits of y do not depend on the range nor on the other
/// tokens.
struct PanelMatmulArgs {
  const std::byte* panels;  ///< of the matrix, at a multiple of 64 bytes
  int rows, cols;
  int panel_begin, panel_end;
  const std::byte* x;  ///< tiles of tile_width(n_tokens, widest_tile) tokens
  int n_tokens;
  float* y;  ///< [n_tokens][y_stride]
  std::size_t y_stride;
};

/// The same for weights that are floats: the products of 256 columns, or of those that share a
/// scale, are added up as FloatLayout::kParallel sums, one rounding each, then their sum to those
/// before. The bits of y are the same in every set, range and n_tokens.
struct FloatMatmulArgs {
  const std::byte* panels;  ///< of the matrix: [cols][16] each
  int rows, cols;
  int panel_begin, panel_end;
  const float* x;  ///< [n_tokens][x_stride]
  std::size_t x_stride;
  int n_tokens;
  float* y;  ///< [n_tokens][y_stride]
  std::size_t y_stride;
};

/// One way to multiply. Filled as a whole: its parts agree on the form of activations.
struct PanelProducts {
  int widest_tile = 0;   ///< tokens; 0: this way is not there
  int least_tokens = 0;  ///< fewer are better off with another way
  /// For each token of a tile.
  std::size_t (*activation_bytes)(int cols) noexcept = nullptr;
  void (*quantize)(const QuantizeArgs&) noexcept = nullptr;
  /// A type has one of the two, or none: then it is multiplied as it is stored.
  void (*multiply[kDTypeCount])(const PanelMatmulArgs&) noexcept = {};
  void (*multiply_floats[kDTypeCount])(const FloatMatmulArgs&) noexcept = {};
};

struct PanelKernels {
  /// Codes are multiplied and summed as integers; sums of 32 columns are scaled and added up in
  /// binary32, those of 256 columns scaled and added to y, all in order (plain_panels.h): the bits
  /// of y are the same in every instruction set, for every number of tokens.
  PanelProducts few;
  /// Many tokens, some types: weights become codes of 8 bits with one scale for 256 columns
  /// (requantized.h), and their sums leave integers once for 256 columns.
  PanelProducts requantized;
  /// Many tokens, some types: weights and activations are rounded to bfloat16.
  PanelProducts tiles;
  /// One panel, whose memory is zero before, of n_rows (at most 16) stored rows.
  void (*encode[kDTypeCount])(const std::byte* rows, std::size_t row_bytes, int n_rows, int cols,
                              std::byte* panel) noexcept = {};

  const PanelProducts& products(DType type, int n_tokens) const {
    for (const PanelProducts* way : {&tiles, &requantized})
      if (way->multiply[index_of(type)] && n_tokens >= way->least_tokens) return *way;
    return few;
  }
};

/// A type's panels, the same in every set.
struct PanelTraits {
  bool exists = false;
  bool floats = false;  ///< multiply_floats
  int columns = 0;      ///< of a tile
  int tile_bytes = 0;

  /// Bytes of a panel of rows of `cols` values.
  std::size_t panel_bytes(int cols) const {
    return static_cast<std::size_t>((cols + columns - 1) / columns) *
           static_cast<std::size_t>(tile_bytes);
  }
};

const PanelTraits& panel_traits(DType type) noexcept;

}  // namespace lq::kernels
