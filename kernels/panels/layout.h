#pragma once
// Panels: 16 rows of a weight side by side, for products of 8-bit activations with integer codes.
//
// A panel is a row of tiles, a tile 16 rows x 256 columns, or 64 (flat types):
//
//   nested  scale[16] min[16] (binary16) | group scales [groups][16] | group minimums [groups][16]
//   flat    scale[2][16] (binary16)      | low[2][16] (binary16; types with mins)
//   zeros   scale[groups][16] (binary32) | zero[groups][16] (bytes)  | up to a multiple of 64 bytes
//   all     codes of the runs of 32 columns, one after the other, in lines of 64 bytes: one of the
//           second plane, if there is one, then those of the first that have the same units
//
// A unit is 4 columns of 16 rows: byte 4 r + j belongs to row r, column 4 u + j: what one
// multiply-and-add of four neighbouring bytes wants. In a plane of b bits, 8 / b units lie one
// above the other in a line, unit u of a run in bits b (u % (8 / b)) of line u / (8 / b). So a
// tile is read from its start to its end: one stream, which the processor fetches ahead by itself.
// A missing row, and columns that fill up the last tile, have scale 0.
#include <cstddef>
#include <cstdint>

#include "kernels/blocks/panel_form.h"
#include "kernels/panels/panels.h"

namespace lq::kernels {

inline constexpr int kUnitBytes = 64;
inline constexpr int kRunUnits = 8;  ///< a run is 32 columns

template <class Block>
concept HasPanel = requires {
  Block::kPanel;
};

template <PanelForm F>
struct PanelLayout {
  static constexpr int kColumns = F.nested || F.zeros ? 256 : 64;
  static constexpr int kUnits = kColumns / 4;
  static constexpr int kGroups = kColumns / F.group;
  static constexpr int kGroupUnits = F.group / 4;
  static constexpr int kMaxCode = (1 << (F.low_bits + F.high_bits)) - 1;
  /// Bytes from the tile's start.
  static constexpr int kScale = 0;
  static constexpr int kMin = F.nested ? 2 * kPanelRows : 4 * kPanelRows;
  static constexpr int kGroupScale = 4 * kPanelRows;  ///< nested
  static constexpr int kGroupMin = kGroupScale + kGroups * kPanelRows;
  static constexpr bool kSeparateMins = F.mins && !F.nibble_scales;
  static constexpr int kZero = 4 * kPanelRows * kGroups;  ///< zeros
  static constexpr int kZerosEnd =
      (kZero + kPanelRows * kGroups + kUnitBytes - 1) / kUnitBytes * kUnitBytes;
  static constexpr int kCodes = F.nested  ? kGroupMin + (kSeparateMins ? kGroups * kPanelRows : 0)
                                : F.zeros ? kZerosEnd
                                          : 4 * kPanelRows * (F.mins ? 2 : 1);
  static constexpr int kTileRuns = kColumns / 32;  ///< runs are 32 columns
  static constexpr int kRunBytes = kRunUnits * kUnitBytes * (F.low_bits + F.high_bits) / 8;
  static constexpr int kBytes = kCodes + kTileRuns * kRunBytes;
  static_assert(kBytes % kUnitBytes == 0, "tiles start at cache lines");

  /// Where the codes of a run begin, counted from the first of some tiles.
  static constexpr const std::byte* run_lines(const std::byte* tiles, int run) {
    return tiles + run / kTileRuns * kBytes + kCodes + run % kTileRuns * kRunBytes;
  }
  /// Lines of the planes from there.
  static constexpr int low_line(int i) {
    if (F.high_bits == 0) return kUnitBytes * i;
    constexpr int kSame = F.high_bits > 0 ? F.low_bits / F.high_bits : 1;
    return kUnitBytes * (i / kSame * (1 + kSame) + 1 + i % kSame);
  }
  static constexpr int high_line(int i) {
    return kUnitBytes * i * (1 + (F.high_bits > 0 ? F.low_bits / F.high_bits : 0));
  }

  static constexpr int tiles(int cols) { return (cols + kColumns - 1) / kColumns; }

  /// Tiles of 256 columns, which a block of activations meets.
  static constexpr int kTogether = 256 / kColumns;
};

}  // namespace lq::kernels
