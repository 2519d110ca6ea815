#pragma once
// Panels of binary32, binary16 and bfloat16 weights: [cols][16 rows], for products in binary32.
#include <string.h>

#include "kernels/blocks/all_blocks.h"
#include "kernels/panels/panels.h"

namespace lq::kernels {

template <class Block>
concept HasFloatPanel = Block::kValues == 1;

namespace {

/// Columns whose products are added up before the sum is added to the columns before.
constexpr int kFloatChunk = 256;

/// One panel of n_rows (at most 16) stored rows of `cols` values; memory of missing rows is zero.
template <class Block>
void encode_float_panel(const std::byte* rows, std::size_t row_bytes, int n_rows, int cols,
                        std::byte* panel) noexcept {
  constexpr int kTogether = 64;  // columns of 16 rows: a few cache lines of each
  for (int first = 0; first < cols; first += kTogether) {
    const int last = cols - first < kTogether ? cols : first + kTogether;
    for (int r = 0; r < n_rows; ++r) {
      const std::byte* const row = rows + static_cast<std::size_t>(r) * row_bytes;
      for (int c = first; c < last; ++c)
        memcpy(panel + sizeof(Block) * static_cast<std::size_t>(kPanelRows * c + r),
               row + sizeof(Block) * static_cast<std::size_t>(c), sizeof(Block));
    }
  }
}

template <class Block>
void multiply_floats_plain(const FloatMatmulArgs& a) noexcept {
  const std::size_t panel_values = static_cast<std::size_t>(a.cols) * kPanelRows;
  for (int row = a.panel_begin * kPanelRows; row < a.panel_end * kPanelRows && row < a.rows;
       ++row) {
    const auto* const panel = reinterpret_cast<const Block*>(a.panels) +
                              static_cast<std::size_t>(row / kPanelRows) * panel_values;
    for (int t = 0; t < a.n_tokens; ++t) {
      const float* const x = a.x + static_cast<std::size_t>(t) * a.x_stride;
      float y = 0;
      for (int first = 0; first < a.cols; first += kFloatChunk) {
        float sum = 0;
        for (int c = first; c < a.cols && c < first + kFloatChunk; ++c) {
          float weight;
          decode(panel[c * kPanelRows + row % kPanelRows], &weight);
          sum = fmaf(weight, x[c], sum);
        }
        y += sum;
      }
      a.y[static_cast<std::size_t>(t) * a.y_stride + static_cast<std::size_t>(row)] = y;
    }
  }
}

}  // namespace
}  // namespace lq::kernels
