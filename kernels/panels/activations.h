#pragma once
// Activations as 8-bit codes, for products with panels.
//
// Tokens go in tiles of 1, 2, 4 or more (tile_width); missing tokens of the last one are zero. A
// tile is a row of blocks of 32 columns, each with T tokens side by side:
//
//   code[8][T][4] | sums of 16 codes: int16 [T][2] | float scale[T] | float scale * sum of 32 [T]
//
// Value = scale * code; scale = the largest magnitude of the 32 columns / 127. Columns that fill up
// the last tile of a panel are 0.
#include <cstddef>
#include <cstdint>

namespace lq::kernels {

/// A largest magnitude up to this makes all codes 0: its inverse might be infinite.
inline constexpr float kTinyPeak = 1e-30f;

struct Activations {
  static constexpr int kColumns = 32;
  static constexpr int kTokenBytes = 32 + 4 + 4 + 4;              ///< of a block, for each token
  static constexpr int kSums = 32, kScale = 36, kScaledSum = 40;  ///< times T
};

/// Tokens a tile when n_tokens are multiplied: a power of two, at most `widest`.
constexpr int tile_width(int n_tokens, int widest) {
  int width = 1;
  while (width < n_tokens && width < widest) width *= 2;
  return width;
}

/// Blocks of a row of `cols` values: of whole tiles of any type.
constexpr int activation_blocks(int cols) { return (cols + 255) / 256 * 8; }

/// Bytes for each token of a tile. Static: instruction sets take its address.
static constexpr std::size_t activation_bytes(int cols) noexcept {
  return static_cast<std::size_t>(activation_blocks(cols)) * Activations::kTokenBytes;
}

/// One tile.
struct QuantizeArgs {
  const float* x;  ///< [n_tokens][stride]
  std::size_t stride;
  int cols;
  int n_tokens, width;  ///< tokens that exist; tokens of the tile
  std::byte* tile;
};

}  // namespace lq::kernels
