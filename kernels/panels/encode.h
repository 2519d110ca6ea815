#pragma once
// Stored rows to panels. Compiled once for each instruction set that has panels.
#include <string.h>

#include "kernels/blocks/all_blocks.h"
#include "kernels/panels/layout.h"

namespace lq::kernels {
namespace {

/// Bits [kShift, kShift + kBits) of the codes that a row has in a line.
template <int kBits, int kShift>
inline void put_line(const std::uint8_t* code, int row, std::byte* line) {
  constexpr int kPer = 8 / kBits;
  constexpr std::uint32_t kMask = 0x01010101u * ((1u << kBits) - 1);
  std::uint32_t word[kPer], packed = 0;
  memcpy(word, code, sizeof word);
  for (int i = 0; i < kPer; ++i) packed |= ((word[i] >> kShift) & kMask) << (kBits * i);
  memcpy(line + 4 * row, &packed, sizeof packed);
}

/// One row's codes of a tile.
template <PanelForm F>
inline void put_codes(const std::uint8_t* code, int row, std::byte* tile) {
  using Layout = PanelLayout<F>;
  std::byte* to = tile + Layout::kCodes;
  for (int run = 0; run < Layout::kTileRuns; ++run, code += 32, to += Layout::kRunBytes) {
    for (int i = 0; i < F.low_bits; ++i)
      put_line<F.low_bits, 0>(code + 32 / F.low_bits * i, row, to + Layout::low_line(i));
    if constexpr (F.high_bits > 0)
      for (int i = 0; i < F.high_bits; ++i)
        put_line<F.high_bits, F.low_bits>(code + 32 / F.high_bits * i, row,
                                          to + Layout::high_line(i));
  }
}

template <class Block>
inline void put_nested(const Block& block, int row, std::byte* tile) {
  constexpr PanelForm F = Block::kPanel;
  using Layout = PanelLayout<F>;
  NestedParts parts{};
  take_apart(block, parts);
  memcpy(tile + Layout::kScale + 2 * row, &parts.scale, 2);
  memcpy(tile + Layout::kMin + 2 * row, &parts.min, 2);
  for (int g = 0; g < Layout::kGroups; ++g) {
    std::byte* const scale = tile + Layout::kGroupScale + g * kPanelRows + row;
    *scale = static_cast<std::byte>(parts.group_scale[g]);
    if constexpr (F.nibble_scales) *scale |= static_cast<std::byte>(parts.group_min[g] << 4);
    if constexpr (Layout::kSeparateMins)
      tile[Layout::kGroupMin + g * kPanelRows + row] = static_cast<std::byte>(parts.group_min[g]);
  }
  put_codes<F>(parts.code, row, tile);
}

/// n_blocks: 1 or 2.
template <class Block>
inline void put_flat(const Block* blocks, int n_blocks, int row, std::byte* tile) {
  constexpr PanelForm F = Block::kPanel;
  using Layout = PanelLayout<F>;
  std::uint8_t code[64] = {};
  for (int g = 0; g < n_blocks; ++g) {
    FlatParts parts{};
    take_apart(blocks[g], parts);
    memcpy(code + 32 * g, parts.code, 32);
    memcpy(tile + Layout::kScale + 2 * (kPanelRows * g + row), &parts.scale, 2);
    if constexpr (F.mins) memcpy(tile + Layout::kMin + 2 * (kPanelRows * g + row), &parts.low, 2);
  }
  put_codes<F>(code, row, tile);
}

/// n_blocks of them: groups of a tile.
template <class Block>
inline void put_zeros(const Block* blocks, int n_blocks, int row, std::byte* tile) {
  constexpr PanelForm F = Block::kPanel;
  using Layout = PanelLayout<F>;
  std::uint8_t code[Layout::kColumns] = {};
  for (int g = 0; g < n_blocks; ++g) {
    ZeroParts parts;
    take_apart(blocks[g], parts);
    memcpy(code + F.group * g, parts.code, F.group);
    memcpy(tile + Layout::kScale + 4 * (kPanelRows * g + row), &parts.scale, 4);
    tile[Layout::kZero + kPanelRows * g + row] = static_cast<std::byte>(parts.zero);
  }
  put_codes<F>(code, row, tile);
}

/// One panel, whose memory is zero before, of n_rows (at most 16) stored rows of `cols` values.
template <class Block>
void encode_panel(const std::byte* rows, std::size_t row_bytes, int n_rows, int cols,
                  std::byte* panel) noexcept {
  using Layout = PanelLayout<Block::kPanel>;
  constexpr int kBlocks = Layout::kColumns / Block::kValues;
  const int n_blocks = cols / Block::kValues;
  for (int first = 0; first < n_blocks; first += kBlocks, panel += Layout::kBytes)
    for (int r = 0; r < n_rows; ++r) {
      const auto* block =
          reinterpret_cast<const Block*>(rows + static_cast<std::size_t>(r) * row_bytes) + first;
      const int n = n_blocks - first < kBlocks ? n_blocks - first : kBlocks;
      if constexpr (Block::kPanel.nested)
        put_nested(*block, r, panel);
      else if constexpr (Block::kPanel.zeros)
        put_zeros(block, n, r, panel);
      else
        put_flat(block, n, r, panel);
    }
}

}  // namespace
}  // namespace lq::kernels
