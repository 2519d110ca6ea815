#pragma once
// Products of many tokens in integers: weights and activations as 8-bit codes with one scale for
// 256 columns each.
//
// Weights are made of a panel's codes while it is multiplied, row by row of 16:
//
//   unit   = the largest magnitude that the row's 256 codes could stand for / 127
//   step   = round(2^8 * scale of the group / unit)
//   start  = 2^15 + 2^7 + what the group adds: -zero * step, or round(2^8 * minimum / unit)
//   weight = unit * (w - 128), w = the upper byte of (code * step + start), 16 bits
//
// Activations are tiles of T tokens as in activations.h, in blocks of 256 columns:
//
//   codes   int8 [8 runs][8][T][4]
//   shifts  int32 [8][T]: a run's codes count 2^shift, 0 .. 8
//   begin   int32 [T]: -128 * the sum of codes * 2^shift
//   scale   float [T]
//
// Value = scale * 2^(shift - 8) * code; scale = the largest magnitude of the 256 columns / 127, and
// the shift the least with which the run's codes fit. So the sum of w * code * 2^shift and begin is
// 2^8 times what units and scales have to be multiplied with, and below 2^30.
#include "kernels/blocks/all_blocks.h"
#include "kernels/panels/activations.h"
#include "kernels/panels/layout.h"

namespace lq::kernels {

struct RequantizedActivations {
  static constexpr int kColumns = Activations::kColumns, kRuns = Activations::kRuns;
  static constexpr int kLargestShift = 8;
  /// From a block's start, times T.
  static constexpr int kShifts = kColumns, kBegin = kShifts + 4 * kRuns, kScale = kBegin + 4,
                       kTokenBytes = kScale + 4;
};

/// Bytes for each token of a tile. Static: instruction sets take its address.
static constexpr std::size_t requantized_bytes(int cols) noexcept {
  return static_cast<std::size_t>(activation_blocks(cols)) * RequantizedActivations::kTokenBytes;
}

/// Bits of a float below its exponent, and the exponent of a shift of 0.
inline constexpr std::uint32_t kBelowExponent = (1u << 23) - 1;
inline constexpr std::uint32_t kLeastExponent = 127 - RequantizedActivations::kLargestShift;

/// What a run's largest magnitude is of the block's, as bits of a float, to the bits of 2^(shift -
/// 8).
constexpr std::uint32_t power_bits(std::uint32_t quotient) {
  const std::uint32_t up = (quotient + kBelowExponent) & ~kBelowExponent;
  return up < kLeastExponent << 23 ? kLeastExponent << 23 : up;
}
constexpr int power_shift(std::uint32_t bits) {
  return static_cast<int>(bits >> 23) - static_cast<int>(kLeastExponent);
}

/// Where the weight 0 is, with what rounds to the nearest when the lower byte is dropped.
inline constexpr int kMiddle = (128 << 8) + 128;
/// A step or minimum of a unit: 2^8 * 127.
inline constexpr float kUnits = 127 * 256;

/// Fewer tokens do not pay for what is made of the panels.
inline constexpr int kRequantizedTokens = 32;
inline constexpr int kRequantizedTile = 8;  ///< tokens

/// Types that are requantized: what it adds to the error of a type with fewer bits is less than its
/// own. Codes of 8 bits would be rounded twice.
template <class Block>
concept Requantizes = HasPanel<Block> && Block::kPanel.low_bits + Block::kPanel.high_bits < 8;

/// multiply<Block>() for these types, and how activations are made.
template <template <class> class Multiply>
consteval PanelProducts requantized_products(void (*quantize)(const QuantizeArgs&) noexcept) {
  PanelProducts products{.widest_tile = kRequantizedTile,
                         .least_tokens = kRequantizedTokens,
                         .activation_bytes = requantized_bytes,
                         .quantize = quantize};
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) \
  if constexpr (Requantizes<Block>) products.multiply[index_of(DType::id)] = Multiply<Block>::run;
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  return products;
}

}  // namespace lq::kernels
