#pragma once
// Panels of weights that are multiplied as floats, for products in binary32. A panel is a row of
// tiles, a tile 16 rows of a column (values without a scale) or of the columns of a block:
//
//   scale[groups][16] (binary32) | codes
//
// Codes of 8 bits and more: [column][16 rows]. Of 4 bits: lines of 32 bytes, 4 columns of 8 rows in
// the low nibbles and the next 4 columns in the high ones. Byte 16 l + 4 k + r of a line belongs to
// column k and row 4 l + r: unpacking bytes to numbers within 16 bytes makes vectors of 8 rows. The
// line of rows 8 .. 15 follows.
#include <string.h>

#include "kernels/blocks/all_blocks.h"
#include "kernels/panels/panels.h"

namespace lq::kernels {

template <class Block>
concept HasFloatPanel = requires {
  Block::kFloatPanel;
};

namespace {

template <class Block>
struct FloatLayout {
  static constexpr FloatPanelForm F = Block::kFloatPanel;
  static constexpr bool kScaled = F.group > 0;
  static constexpr bool kNibbles = F.code == FloatCode::table32 || F.code == FloatCode::table16;
  static constexpr int kColumns = Block::kValues;
  static constexpr int kGroups = kScaled ? kColumns / F.group : 0;
  /// Columns whose products are added up before the sum is scaled and added to the columns before.
  static constexpr int kSum = kScaled ? F.group : 256;
  /// Sums of them, each of the products of every kParallel-th column in order, that do not wait for
  /// each other: one panel alone keeps a core busy, and is one stream from memory. Added up by
  /// halves: 0 and 2, 1 and 3, then those two.
  static constexpr int kParallel = kSum >= 128 ? 4 : 2;
  /// Bytes: of a column of codes; from the tile's start.
  static constexpr int kColumnBytes =
      kScaled ? kPanelRows / (kNibbles ? 2 : 1) : kPanelRows * static_cast<int>(sizeof(Block));
  static constexpr int kScaleRow = 4 * kPanelRows;
  static constexpr int kCodes = kScaleRow * kGroups;
  static constexpr int kBytes = kCodes + kColumns * kColumnBytes;
  /// E4M3 is read as binary16, which makes it 2^8 times as small.
  static constexpr float kUnit = F.code == FloatCode::e4m3 ? 256 : 1;
  static_assert(!kNibbles || F.group % 8 == 0);

  static constexpr std::ptrdiff_t panel_bytes(int cols) {
    return static_cast<std::ptrdiff_t>(cols / kColumns) * kBytes;
  }
  /// From the panel's start. Nibbles: the column is a multiple of 8.
  static constexpr std::ptrdiff_t column(int c) {
    return static_cast<std::ptrdiff_t>(c / kColumns) * kBytes + kCodes +
           c % kColumns * kColumnBytes;
  }
  static constexpr std::ptrdiff_t scale(int c) {
    return static_cast<std::ptrdiff_t>(c / kColumns) * kBytes + c % kColumns / kSum * kScaleRow;
  }
  /// Of a code of 4 bits, in the bytes of its 8 columns.
  static constexpr int nibble_byte(int c, int row) {
    return 32 * (row / 8) + 16 * (row / 4 % 2) + 4 * (c % 4) + row % 4;
  }
};

template <class Block>
inline void put_scaled(const Block& block, int row, std::byte* tile) {
  using Layout = FloatLayout<Block>;
  float scale[Layout::kGroups];
  std::uint8_t code[Layout::kColumns];
  take_scales(block, scale);
  take_codes(block, code);
  for (int g = 0; g < Layout::kGroups; ++g)
    memcpy(tile + Layout::kScaleRow * g + 4 * row, scale + g, 4);
  std::byte* const codes = tile + Layout::kCodes;
  if constexpr (Layout::kNibbles) {
    for (int c = 0; c < Layout::kColumns; c += 8)
      for (int k = 0; k < 4; ++k)
        codes[c * Layout::kColumnBytes + Layout::nibble_byte(k, row)] =
            static_cast<std::byte>(code[c + k] | (code[c + 4 + k] << 4));
  } else {
    for (int c = 0; c < Layout::kColumns; ++c)
      codes[c * kPanelRows + row] = static_cast<std::byte>(code[c]);
  }
}

/// One panel of n_rows (at most 16) stored rows of `cols` values; memory of missing rows is zero.
template <class Block>
void encode_float_panel(const std::byte* rows, std::size_t row_bytes, int n_rows, int cols,
                        std::byte* panel) noexcept {
  constexpr int kTogether = FloatLayout<Block>::kScaled ? 1 : 64;  // a few cache lines of each row
  const int n_blocks = cols / Block::kValues;
  for (int first = 0; first < n_blocks; first += kTogether) {
    const int last = n_blocks - first < kTogether ? n_blocks : first + kTogether;
    for (int r = 0; r < n_rows; ++r) {
      const auto* const row =
          reinterpret_cast<const Block*>(rows + static_cast<std::size_t>(r) * row_bytes);
      for (int i = first; i < last; ++i) {
        std::byte* const tile = panel + static_cast<std::ptrdiff_t>(i) * FloatLayout<Block>::kBytes;
        if constexpr (FloatLayout<Block>::kScaled)
          put_scaled(row[i], r, tile);
        else
          memcpy(tile + sizeof(Block) * static_cast<std::size_t>(r), row + i, sizeof(Block));
      }
    }
  }
}

/// A weight of a panel without its scale, and over kUnit.
template <class Block>
inline float plain_weight(const std::byte* panel, int c, int r) {
  using Layout = FloatLayout<Block>;
  if constexpr (!Layout::kScaled) {
    float weight;
    decode(reinterpret_cast<const Block*>(panel + Layout::column(c))[r], &weight);
    return weight;
  } else if constexpr (Layout::kNibbles) {
    const std::byte both = panel[Layout::column(c / 8 * 8) + Layout::nibble_byte(c, r)];
    return Block::code_value(static_cast<std::uint8_t>((both >> (c % 8 / 4 * 4)) & std::byte{15}));
  } else {
    return Block::code_value(static_cast<std::uint8_t>(panel[Layout::column(c) + r])) /
           Layout::kUnit;
  }
}

template <class Block>
void multiply_floats_plain(const FloatMatmulArgs& a) noexcept {
  using Layout = FloatLayout<Block>;
  for (int row = a.panel_begin * kPanelRows; row < a.panel_end * kPanelRows && row < a.rows;
       ++row) {
    const std::byte* const panel = a.panels + row / kPanelRows * Layout::panel_bytes(a.cols);
    const int r = row % kPanelRows;
    for (int t = 0; t < a.n_tokens; ++t) {
      const float* const x = a.x + static_cast<std::size_t>(t) * a.x_stride;
      float y = 0;
      for (int first = 0; first < a.cols; first += Layout::kSum) {
        float sums[Layout::kParallel] = {}, scale = 1;
        for (int c = first; c < a.cols && c < first + Layout::kSum; ++c) {
          float& sum = sums[(c - first) % Layout::kParallel];
          sum = fmaf(plain_weight<Block>(panel, c, r), x[c], sum);
        }
        if constexpr (Layout::kScaled) memcpy(&scale, panel + Layout::scale(first) + 4 * r, 4);
        for (int half = Layout::kParallel / 2; half > 0; half /= 2)
          for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
        y = fmaf(sums[0] * Layout::kUnit, scale, y);
      }
      a.y[static_cast<std::size_t>(t) * a.y_stride + static_cast<std::size_t>(row)] = y;
    }
  }
}

}  // namespace
}  // namespace lq::kernels
