#pragma once
// Activations as 8-bit codes, for products with panels.
//
// Tokens go in tiles of 1, 2, 4 or more (tile_width); missing tokens of the last one are zero. A
// tile is a row of blocks of 256 columns, each with T tokens side by side. A run is 32 columns:
//
//   codes         int8 [8 runs][8][T][4]
//   pairs         int16 [8][T][2]: sums of 16 codes each
//   sums          int32 [8][3][T]: sums of 32 codes, of the first 16 and the rest of them, negated
//   ratios        float [8][T]
//   steps         uint32 [8][T], quarters uint8 [8][T]: a ratio taken apart, see below
//   run sums      int16 [4][T][2], of 32 columns: ratio * sum * kRunSumUnits, rounded
//   half sums     int16 [8][T][2], of 16 columns: ratio * sum * kHalfSumUnits, rounded
//   scale         float [T]
//
// Value = scale * ratio * code; scale = the largest magnitude of the 256 columns / 127. A ratio is
// (1 + m / 4) / 2^s, the least one with which the run's codes fit, and at least 2^-20: it costs
// less than a scale of its own, because dividing by 2^s is a subtraction from a float's exponent,
// and more precise than none. A step is s in the place of that exponent; quarters are m * 64.
#include <cstddef>
#include <cstdint>

namespace lq::kernels {

/// A largest magnitude up to this makes all codes 0: its inverse might be infinite.
inline constexpr float kTinyPeak = 1e-30f;

struct Activations {
  static constexpr int kColumns = 256, kRuns = 8;
  /// From a block's start, times T.
  static constexpr int kPairs = kColumns, kSums = kPairs + 32, kRatio = kSums + 96,
                       kStep = kRatio + 32, kQuarters = kStep + 32, kRunSums = kQuarters + 8,
                       kHalfSums = kRunSums + 16, kScale = kHalfSums + 32, kTokenBytes = kScale + 4;
  /// So that the largest sum of codes stays below 2^15.
  static constexpr float kRunSumUnits = 8, kHalfSumUnits = 16;
};

/// Bits of a float below those that a ratio has, and the least ratio.
inline constexpr std::uint32_t kBelowRatio = (1u << 21) - 1, kLeastRatio = 107u << 23;

/// What a run's largest magnitude is of the block's, as bits of a float, to the bits of its ratio.
constexpr std::uint32_t ratio_bits(std::uint32_t quotient) {
  const std::uint32_t up = (quotient + kBelowRatio) & ~kBelowRatio;
  return up < kLeastRatio ? kLeastRatio : up;
}
constexpr std::uint32_t ratio_step(std::uint32_t ratio) {
  return (127u << 23) - (ratio & 0xff800000u);
}
constexpr std::uint8_t ratio_quarters(std::uint32_t ratio) {
  return static_cast<std::uint8_t>((ratio >> 21 & 3) << 6);
}

/// Tokens a tile when n_tokens are multiplied: a power of two, at most `widest`.
constexpr int tile_width(int n_tokens, int widest) {
  int width = 1;
  while (width < n_tokens && width < widest) width *= 2;
  return width;
}

/// Blocks of a row of `cols` values.
constexpr int activation_blocks(int cols) {
  return (cols + Activations::kColumns - 1) / Activations::kColumns;
}

/// Bytes for each token of a tile. Static: instruction sets take its address.
static constexpr std::size_t activation_bytes(int cols) noexcept {
  return static_cast<std::size_t>(activation_blocks(cols)) * Activations::kTokenBytes;
}

namespace {

/// Values [first, first + 256) of a row, 0 where there are none, as whole blocks want them.
inline const float* whole_block(const float* x, int first, int cols,
                                float (&padded)[Activations::kColumns]) {
  if (cols - first >= Activations::kColumns) return x + first;
  for (int i = 0; i < Activations::kColumns; ++i) padded[i] = first + i < cols ? x[first + i] : 0;
  return padded;
}

}  // namespace

/// One tile.
struct QuantizeArgs {
  const float* x;  ///< [n_tokens][stride]
  std::size_t stride;
  int cols;
  int n_tokens, width;  ///< tokens that exist; tokens of the tile
  std::byte* tile;
};

}  // namespace lq::kernels
