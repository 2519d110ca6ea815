#pragma once
// Products with panels in plain C++: what every set is checked against.
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/panels/encode.h"
#include "kernels/panels/float_panels.h"
#include "kernels/panels/panels.h"
#include "kernels/rounding.h"

namespace lq::kernels {
namespace {

constexpr int kWidestPlain = 4;

/// Code `byte` (4 row + column % 4) of unit u.
template <PanelForm F>
inline int panel_code(const std::byte* tile, int u, int byte) {
  using Layout = PanelLayout<F>;
  constexpr int kPer = 8 / F.low_bits;
  const auto* low = reinterpret_cast<const std::uint8_t*>(tile + Layout::kLow);
  int code =
      (low[kUnitBytes * (u / kPer) + byte] >> (F.low_bits * (u % kPer))) & ((1 << F.low_bits) - 1);
  if constexpr (F.high_bits > 0) {
    constexpr int kHighPer = 8 / F.high_bits;
    const auto* high = reinterpret_cast<const std::uint8_t*>(tile + Layout::kHigh);
    code |= ((high[kUnitBytes * (u / kHighPer) + byte] >> (F.high_bits * (u % kHighPer))) &
             ((1 << F.high_bits) - 1))
            << F.low_bits;
  }
  return code;
}

inline float panel_half(const std::byte* p) {
  std::uint16_t half;
  memcpy(&half, p, sizeof half);
  return half_to_float(half);
}

template <class T>
inline T panel_load(const std::byte* p, int index) {
  T value;
  memcpy(&value, p + static_cast<std::size_t>(index) * sizeof value, sizeof value);
  return value;
}

/// Token t of a block of activations.
struct PlainActivations {
  const std::byte* block;
  int width, t;

  int code(int column) const {
    return static_cast<std::int8_t>(block[(column / 4 * width + t) * 4 + column % 4]);
  }
  int sum16(int half) const {
    return panel_load<std::int16_t>(block + Activations::kSums * width, 2 * t + half);
  }
  float scale() const { return panel_load<float>(block + Activations::kScale * width, t); }
  float scaled_sum() const { return panel_load<float>(block + Activations::kScaledSum * width, t); }
};

/// Sum of code * x over n columns from `first` on, of block `run` of a tile, for row r.
template <PanelForm F>
inline int plain_dot(const std::byte* tile, const PlainActivations& x, int run, int first, int n,
                     int r) {
  int sum = 0;
  for (int c = first; c < first + n; ++c)
    sum += panel_code<F>(tile, 8 * run + c / 4, 4 * r + c % 4) * x.code(c);
  return sum;
}

/// y plus a nested tile: sums of 32 columns times the activations' scale are added up first, the
/// scales of 256 come last.
template <PanelForm F>
inline float add_nested(const std::byte* tile, PlainActivations x, int r, float y) {
  using Layout = PanelLayout<F>;
  constexpr int kRunGroups = 32 / F.group;
  float products = 0, offsets = 0;
  for (int run = 0; run < 8; ++run, x.block += x.width * Activations::kTokenBytes) {
    int sum = 0, offset = 0;
    for (int i = 0; i < kRunGroups; ++i) {
      const int g = run * kRunGroups + i;
      const auto byte = static_cast<std::uint8_t>(tile[Layout::kGroupScale + g * kPanelRows + r]);
      const int scale = F.nibble_scales   ? byte & 15
                        : F.signed_scales ? static_cast<std::int8_t>(byte)
                                          : byte;
      const int x_sum = F.group == 32 ? x.sum16(0) + x.sum16(1) : x.sum16(i);
      sum += scale * (plain_dot<F>(tile, x, run, F.group * i, F.group, r) - F.zero * x_sum);
      offset += F.nibble_scales ? (byte >> 4) * x_sum : 0;
    }
    products = fmaf(static_cast<float>(sum), x.scale(), products);
    if (F.nibble_scales) offsets = fmaf(static_cast<float>(offset), x.scale(), offsets);
    if (Layout::kSeparateMins) {
      const auto min = static_cast<std::uint8_t>(tile[Layout::kGroupMin + run * kPanelRows + r]);
      offsets = fmaf(static_cast<float>(min), x.scaled_sum(), offsets);
    }
  }
  y = fmaf(products, panel_half(tile + Layout::kScale + 2 * r), y);
  return F.mins ? fmaf(-offsets, panel_half(tile + Layout::kMin + 2 * r), y) : y;
}

template <PanelForm F>
inline float add_flat(const std::byte* tile, PlainActivations x, int r, float y) {
  using Layout = PanelLayout<F>;
  for (int g = 0; g < 2; ++g, x.block += x.width * Activations::kTokenBytes) {
    const int sum = plain_dot<F>(tile, x, g, 0, 32, r) - F.zero * (x.sum16(0) + x.sum16(1));
    const int at = 2 * (kPanelRows * g + r);
    y = fmaf(static_cast<float>(sum), panel_half(tile + Layout::kScale + at) * x.scale(), y);
    if (F.mins) y = fmaf(panel_half(tile + Layout::kMin + at), x.scaled_sum(), y);
  }
  return y;
}

/// y plus a tile whose groups have zeros: sums of 32 columns times the activations' scale are added
/// up for each group.
template <PanelForm F>
inline float add_zeros(const std::byte* tile, PlainActivations x, int r, float y) {
  using Layout = PanelLayout<F>;
  constexpr int kRuns = F.group / 32;
  for (int g = 0; g < Layout::kGroups; ++g) {
    const auto zero = static_cast<std::uint8_t>(tile[Layout::kZero + g * kPanelRows + r]);
    float products = 0;
    for (int run = 0; run < kRuns; ++run, x.block += x.width * Activations::kTokenBytes) {
      const int sum =
          plain_dot<F>(tile, x, kRuns * g + run, 0, 32, r) - zero * (x.sum16(0) + x.sum16(1));
      products = fmaf(static_cast<float>(sum), x.scale(), products);
    }
    y = fmaf(products, panel_load<float>(tile + Layout::kScale, kPanelRows * g + r), y);
  }
  return y;
}

template <class Block>
void multiply_plain(const PanelMatmulArgs& a) noexcept {
  constexpr PanelForm F = Block::kPanel;
  using Layout = PanelLayout<F>;
  const int width = tile_width(a.n_tokens, kWidestPlain), n_tiles = Layout::tiles(a.cols);
  const std::ptrdiff_t panel_bytes = static_cast<std::ptrdiff_t>(n_tiles) * Layout::kBytes;
  const auto x_bytes = static_cast<std::ptrdiff_t>(activation_bytes(a.cols)) * width;
  for (int row = a.panel_begin * kPanelRows; row < a.panel_end * kPanelRows && row < a.rows; ++row)
    for (int t = 0; t < a.n_tokens; ++t) {
      const std::byte* tile = a.panels + row / kPanelRows * panel_bytes;
      PlainActivations x{a.x + t / width * x_bytes, width, t % width};
      float y = 0;
      for (int i = 0; i < n_tiles; ++i, tile += Layout::kBytes) {
        if constexpr (F.nested)
          y = add_nested<F>(tile, x, row % kPanelRows, y);
        else if constexpr (F.zeros)
          y = add_zeros<F>(tile, x, row % kPanelRows, y);
        else
          y = add_flat<F>(tile, x, row % kPanelRows, y);
        x.block += Layout::kColumns / 32 * width * Activations::kTokenBytes;
      }
      a.y[static_cast<std::size_t>(t) * a.y_stride + static_cast<std::size_t>(row)] = y;
    }
}

/// Token t of a block: 32 values, of which the first n exist.
inline void put_activations(const float* x, int n, int width, int t, std::byte* block) {
  float peak = 0;
  for (int i = 0; i < n; ++i) peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
  const float inverse = peak > kTinyPeak ? 127.0f / peak : 0, scale = peak / 127.0f;
  std::int16_t sum[2] = {};
  for (int i = 0; i < 32; ++i) {
    const int code = i < n ? clamp_int(round_even(x[i] * inverse), -127, 127) : 0;
    block[(i / 4 * width + t) * 4 + i % 4] = static_cast<std::byte>(code);
    sum[i / 16] = static_cast<std::int16_t>(sum[i / 16] + code);
  }
  const float scaled_sum = scale * static_cast<float>(sum[0] + sum[1]);
  memcpy(block + Activations::kSums * width + 4 * t, sum, sizeof sum);
  memcpy(block + Activations::kScale * width + 4 * t, &scale, sizeof scale);
  memcpy(block + Activations::kScaledSum * width + 4 * t, &scaled_sum, sizeof scaled_sum);
}

inline void quantize_plain(const QuantizeArgs& a) noexcept {
  const int n_blocks = activation_blocks(a.cols);
  for (int t = 0; t < a.width; ++t)
    for (int i = 0; i < n_blocks; ++i) {
      const int left = t < a.n_tokens ? a.cols - 32 * i : 0;
      put_activations(a.x + static_cast<std::size_t>(t) * a.stride + 32 * i,
                      left < 0    ? 0
                      : left < 32 ? left
                                  : 32,
                      a.width, t,
                      a.tile + static_cast<std::ptrdiff_t>(i) * a.width * Activations::kTokenBytes);
    }
}

template <class Block>
consteval void add_plain_panel(PanelKernels& kernels, DType type) {
  if constexpr (HasPanel<Block>) {
    kernels.few.multiply[index_of(type)] = multiply_plain<Block>;
    kernels.encode[index_of(type)] = encode_panel<Block>;
  }
  if constexpr (HasFloatPanel<Block>) {
    kernels.few.multiply_floats[index_of(type)] = multiply_floats_plain<Block>;
    kernels.encode[index_of(type)] = encode_float_panel<Block>;
  }
}

consteval PanelKernels plain_panel_kernels() {
  PanelKernels kernels{.few = {.widest_tile = kWidestPlain,
                               .activation_bytes = activation_bytes,
                               .quantize = quantize_plain}};
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) add_plain_panel<Block>(kernels, DType::id);
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  return kernels;
}

}  // namespace
}  // namespace lq::kernels
