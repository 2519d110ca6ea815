#pragma once
// Requantized products in plain C++: what those of sets are checked against.
#include "kernels/panels/plain_panels.h"
#include "kernels/panels/requantized.h"

namespace lq::kernels {
namespace {

/// Token t of a block of 256 values.
inline void put_requantized(const float* x, int width, int t, std::byte* block) {
  using X = RequantizedActivations;
  const PlainBlockScale block_scale(x);
  std::int8_t code[X::kColumns];
  std::int32_t shift[X::kRuns], begin[1] = {};
  const float scale[1] = {block_scale.scale};
  for (int run = 0; run < X::kRuns; ++run) {
    const std::uint32_t bits = power_bits(float_bits(block_scale.quotient[run]));
    shift[run] = power_shift(bits);
    std::int16_t sum[2] = {};
    round_run(x + 32 * run, block_scale.inverse / bits_float(bits), code + 32 * run, sum);
    begin[0] -= (sum[0] + sum[1]) * (128 << shift[run]);
  }
  put_numbers(code, 4, width, t, block);
  put_numbers(shift, 1, width, t, block + X::kShifts * width);
  put_numbers(begin, 1, width, t, block + X::kBegin * width);
  put_numbers(scale, 1, width, t, block + X::kScale * width);
}

inline void requantize_plain(const QuantizeArgs& a) noexcept {
  quantize_blocks<RequantizedActivations>(a, put_requantized);
}

/// 256 columns of row r, or those of n_tiles.
template <PanelForm F>
struct PlainRequantizedRow {
  using Layout = PanelLayout<F>;
  std::uint8_t code[256];
  float unit;

  PlainRequantizedRow(const std::byte* tiles, int n_tiles, int r) {
    const int n_columns = n_tiles * Layout::kColumns;
    const auto scale_of = [&](int c) {
      return weight_scale<F>(tiles + c / Layout::kColumns * Layout::kBytes,
                             c % Layout::kColumns / 32, c % 32 / 4, r);
    };
    float peak = 0;
    for (int c = 0; c < n_columns; c += F.group) {
      const WeightScale scale = scale_of(c);
      for (const int least_or_most : {0, Layout::kMaxCode}) {
        const auto from_zero = static_cast<float>(least_or_most - scale.zero);
        const float magnitude = fabsf(fmaf(from_zero, scale.step, scale.low));
        peak = magnitude > peak ? magnitude : peak;
      }
    }
    unit = peak / 127.0f;
    const float inverse = kUnits / (peak > kTinyPeak ? peak : kTinyPeak);
    for (int c = 0; c < n_columns; ++c) code[c] = requantized(tiles, c, r, scale_of(c), inverse);
  }

  static std::uint8_t requantized(const std::byte* tiles, int c, int r, const WeightScale& scale,
                                  float inverse) {
    const int in_tile = c % Layout::kColumns;
    const int code = panel_code<F>(tiles + c / Layout::kColumns * Layout::kBytes, in_tile / 4,
                                   4 * r + in_tile % 4);
    const int step = round_even(scale.step * inverse);
    const int zero = F.zeros ? scale.zero : F.zero;
    const int low = F.mins ? round_even(scale.low * inverse) : -zero * step;
    const auto sum = static_cast<unsigned>(code * step + low + kMiddle);
    return static_cast<std::uint8_t>(sum >> 8);
  }
};

/// y plus 256 columns.
template <PanelForm F>
inline float add_requantized(const std::byte* tiles, int n_tiles, const PlainActivations& x, int r,
                             float y) {
  using X = RequantizedActivations;
  const PlainRequantizedRow<F> row(tiles, n_tiles, r);
  std::int32_t sum = x.number<std::int32_t>(X::kBegin, 0, 1);
  for (int run = 0; run < n_tiles * PanelLayout<F>::kTileRuns; ++run) {
    std::int32_t of_run = 0;
    for (int c = 32 * run; c < 32 * run + 32; ++c) of_run += row.code[c] * x.code(c);
    sum += of_run * (1 << x.number<std::int32_t>(X::kShifts, run, 1));
  }
  const float products = static_cast<float>(sum) * (row.unit * 0x1p-8f);
  return fmaf(products, x.number<float>(X::kScale, 0, 1), y);
}

template <class Block>
struct MultiplyRequantizedPlain {
  static void run(const PanelMatmulArgs& a) noexcept {
    multiply_rows<Block::kPanel, RequantizedActivations>(a, kRequantizedTile,
                                                         add_requantized<Block::kPanel>);
  }
};

}  // namespace
}  // namespace lq::kernels
