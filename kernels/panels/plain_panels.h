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
  const auto* const run =
      reinterpret_cast<const std::uint8_t*>(Layout::run_lines(tile, u / kRunUnits));
  u %= kRunUnits;
  int code = (run[Layout::low_line(u / kPer) + byte] >> (F.low_bits * (u % kPer))) &
             ((1 << F.low_bits) - 1);
  if constexpr (F.high_bits > 0) {
    constexpr int kHighPer = 8 / F.high_bits;
    code |= ((run[Layout::high_line(u / kHighPer) + byte] >> (F.high_bits * (u % kHighPer))) &
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

/// Weight = (code - zero) * step + low.
struct WeightScale {
  int zero;
  float step, low;
};

/// Of row r in unit u of run `run` (32 columns) of a tile.
template <PanelForm F>
inline WeightScale weight_scale(const std::byte* tile, int run, int u, int r) {
  using Layout = PanelLayout<F>;
  WeightScale result{};
  if constexpr (F.nested) {
    const int g = (8 * run + u) / Layout::kGroupUnits;
    const auto byte = static_cast<std::uint8_t>(tile[Layout::kGroupScale + g * kPanelRows + r]);
    const int scale = F.nibble_scales   ? byte & 15
                      : F.signed_scales ? static_cast<std::int8_t>(byte)
                                        : byte;
    int min = byte >> 4;
    if constexpr (Layout::kSeparateMins)
      min = static_cast<std::uint8_t>(tile[Layout::kGroupMin + g * kPanelRows + r]);
    result.step = panel_half(tile + Layout::kScale + 2 * r) * static_cast<float>(scale);
    if constexpr (F.mins)
      result.low = -panel_half(tile + Layout::kMin + 2 * r) * static_cast<float>(min);
  } else if constexpr (F.zeros) {
    const int at = kPanelRows * ((8 * run + u) / Layout::kGroupUnits) + r;
    result.step = panel_load<float>(tile + Layout::kScale, at);
    result.zero = panel_load<std::uint8_t>(tile + Layout::kZero, at);
  } else {
    const int at = 2 * (kPanelRows * run + r);
    result.step = panel_half(tile + Layout::kScale + at);
    if constexpr (F.mins) result.low = panel_half(tile + Layout::kMin + at);
  }
  if constexpr (!F.mins && !F.zeros) result.low = -static_cast<float>(F.zero) * result.step;
  return result;
}

/// Token t of a block of activations.
struct PlainActivations {
  using X = Activations;
  const std::byte* block;
  int width, t;

  int code(int column) const {
    return static_cast<std::int8_t>(block[(column / 4 * width + t) * 4 + column % 4]);
  }
  /// Number i of `per` that a token has together in each of its entries.
  template <class Number>
  Number number(int from, int i, int per) const {
    return panel_load<Number>(block + from * width, (i / per * width + t) * per + i % per);
  }
  int sum16(int i) const { return number<std::int16_t>(X::kPairs, i, 2); }
  int run_sum(int run) const { return number<std::int16_t>(X::kRunSums, run, 2); }
  int half_sum(int i) const { return number<std::int16_t>(X::kHalfSums, i, 2); }
  float ratio(int run) const { return number<float>(X::kRatio, run, 1); }
  float scale() const { return number<float>(X::kScale, 0, 1); }
};

/// Group g of 256 columns of a row, with its tile.
template <PanelForm F>
struct PlainGroup {
  using Layout = PanelLayout<F>;
  const std::byte* tile;
  int in_tile, row;

  PlainGroup(const std::byte* tiles, int g, int r)
      : tile(tiles + g / Layout::kGroups * Layout::kBytes), in_tile(g % Layout::kGroups), row(r) {}

  std::uint8_t byte(int from) const {
    return static_cast<std::uint8_t>(tile[from + in_tile * kPanelRows + row]);
  }
  float half(int from) const {
    return panel_half(tile + from + 2 * (F.nested ? row : kPanelRows * in_tile + row));
  }
  /// Nested: the whole number of the group.
  int whole_scale() const {
    const std::uint8_t stored = byte(Layout::kGroupScale);
    return F.nibble_scales   ? stored & 15
           : F.signed_scales ? static_cast<std::int8_t>(stored)
                             : stored;
  }
  int min() const {
    return Layout::kSeparateMins ? byte(Layout::kGroupMin) : byte(Layout::kGroupScale) >> 4;
  }
  /// Sum of code * x over n columns from `first` of the group on; it begins at x's `group_column`.
  int dot(const PlainActivations& x, int first, int n, int group_column) const {
    int sum = 0;
    for (int c = first; c < first + n; ++c)
      sum += panel_code<F>(tile, (in_tile * F.group + c) / 4, 4 * row + c % 4) *
             x.code(group_column + c);
    return sum;
  }
};

/// What the minimums of 256 columns, or n_runs times 32, add to their products.
template <PanelForm F>
inline float add_minimums(const std::byte* tiles, int n_runs, const PlainActivations& x, int r,
                          float products) {
  using X = Activations;
  using Layout = PanelLayout<F>;
  float lows = 0;
  int offset = 0;
  for (int g = 0; g < n_runs * 32 / F.group; ++g) {
    const PlainGroup<F> group(tiles, g, r);
    if constexpr (F.nested)
      offset += group.min() * (F.group == 32 ? x.run_sum(g) : x.half_sum(g));
    else
      lows = fmaf(group.half(Layout::kMin), static_cast<float>(x.run_sum(g)), lows);
  }
  if constexpr (!F.nested) return fmaf(lows, 1 / X::kRunSumUnits, products);
  const float unit = 1 / (F.group == 32 ? X::kRunSumUnits : X::kHalfSumUnits);
  const float min = PlainGroup<F>(tiles, 0, r).half(Layout::kMin) * unit;
  return fmaf(-static_cast<float>(offset), min, products);
}

/// y plus 256 columns, or n_runs times 32: sums of 32, with the whole numbers that scale groups,
/// are added up times the scale and the ratio, or where groups are of 16 times the ratio alone; the
/// activations' scale comes last.
template <PanelForm F>
inline float add_scaled(const std::byte* tiles, int n_runs, const PlainActivations& x, int r,
                        float y) {
  constexpr int kRunGroups = 32 / F.group;
  constexpr bool kScaleLast = F.nested && F.group == 16;
  float products = 0;
  for (int run = 0; run < n_runs; ++run) {
    int sum = 0;
    float scale = 0;
    for (int g = run * kRunGroups; g < (run + 1) * kRunGroups; ++g) {
      const PlainGroup<F> group(tiles, g, r);
      const int x_sum = F.group == 32 ? x.sum16(2 * g) + x.sum16(2 * g + 1) : x.sum16(g);
      const int of_group = group.dot(x, 0, F.group, F.group * g) - F.zero * x_sum;
      sum += F.nested ? group.whole_scale() * of_group : of_group;
      scale = kScaleLast ? 1 : group.half(PanelLayout<F>::kScale);
    }
    products = fmaf(static_cast<float>(sum), scale * x.ratio(run), products);
  }
  if constexpr (kScaleLast) products *= PlainGroup<F>(tiles, 0, r).half(PanelLayout<F>::kScale);
  if constexpr (F.mins) products = add_minimums<F>(tiles, n_runs, x, r, products);
  return fmaf(products, x.scale(), y);
}

/// y plus a tile whose groups have zeros: sums of 32 columns times the activations' ratio are added
/// up for each group.
template <PanelForm F>
inline float add_zeros(const std::byte* tile, const PlainActivations& x, int r, float y) {
  using Layout = PanelLayout<F>;
  float total = 0;
  for (int g = 0; g < Layout::kGroups; ++g) {
    const PlainGroup<F> group(tile, g, r);
    const int zero = group.byte(Layout::kZero);
    float products = 0;
    for (int c = 0; c < F.group; c += 32) {
      const int run = (g * F.group + c) / 32;
      const int sum =
          group.dot(x, c, 32, g * F.group) - zero * (x.sum16(2 * run) + x.sum16(2 * run + 1));
      products = fmaf(static_cast<float>(sum), x.ratio(run), products);
    }
    total = fmaf(products, panel_load<float>(tile + Layout::kScale, kPanelRows * g + r), total);
  }
  return fmaf(total, x.scale(), y);
}

/// y[t][r]: from 0 on y = add(tiles, n_tiles, x, r, y) for each 256 columns, with activations of a
/// form X in tiles of up to `widest` tokens.
template <PanelForm F, class X, class Add>
inline void multiply_rows(const PanelMatmulArgs& a, int widest, const Add& add) {
  using Layout = PanelLayout<F>;
  const int width = tile_width(a.n_tokens, widest), n_tiles = Layout::tiles(a.cols);
  const std::ptrdiff_t panel_bytes = static_cast<std::ptrdiff_t>(n_tiles) * Layout::kBytes;
  const std::ptrdiff_t block_bytes = static_cast<std::ptrdiff_t>(width) * X::kTokenBytes;
  for (int row = a.panel_begin * kPanelRows; row < a.panel_end * kPanelRows && row < a.rows; ++row)
    for (int t = 0; t < a.n_tokens; ++t) {
      const std::byte* tile = a.panels + row / kPanelRows * panel_bytes;
      PlainActivations x{a.x + t / width * activation_blocks(a.cols) * block_bytes, width,
                         t % width};
      float y = 0;
      for (int i = 0; i < n_tiles; i += Layout::kTogether) {
        const int n = n_tiles - i < Layout::kTogether ? n_tiles - i : Layout::kTogether;
        y = add(tile, n, x, row % kPanelRows, y);
        tile += Layout::kTogether * Layout::kBytes;
        x.block += block_bytes;
      }
      a.y[static_cast<std::size_t>(t) * a.y_stride + static_cast<std::size_t>(row)] = y;
    }
}

/// y plus 256 columns, or those of n_tiles.
template <PanelForm F>
inline float add_columns(const std::byte* tiles, int n_tiles, const PlainActivations& x, int r,
                         float y) {
  if constexpr (F.zeros)
    return add_zeros<F>(tiles, x, r, y);
  else
    return add_scaled<F>(tiles, n_tiles * PanelLayout<F>::kTileRuns, x, r, y);
}

template <class Block>
void multiply_plain(const PanelMatmulArgs& a) noexcept {
  multiply_rows<Block::kPanel, Activations>(a, kWidestPlain, add_columns<Block::kPanel>);
}

/// Token t of a tile of `width`: its numbers in a block, one beside the other for all tokens.
template <class Number, std::size_t kCount>
inline void put_numbers(const Number (&numbers)[kCount], int per, int width, int t, std::byte* to) {
  for (std::size_t i = 0; i < kCount; ++i)
    memcpy(to + sizeof(Number) *
                    static_cast<std::size_t>((static_cast<int>(i) / per * width + t) * per +
                                             static_cast<int>(i) % per),
           numbers + i, sizeof(Number));
}

/// Codes of 32 values, and the sums of both halves.
inline void round_run(const float* x, float inverse, std::int8_t* code, std::int16_t* sum) {
  for (int i = 0; i < 32; ++i) {
    code[i] = static_cast<std::int8_t>(clamp_int(round_even(x[i] * inverse), -127, 127));
    sum[i / 16] = static_cast<std::int16_t>(sum[i / 16] + code[i]);
  }
}

inline std::int16_t scaled_sum(float ratio, float units, int sum) {
  return static_cast<std::int16_t>(round_even(ratio * units * static_cast<float>(sum)));
}

/// What 256 values are rounded with.
struct PlainBlockScale {
  float quotient[8];  ///< largest magnitudes of runs, of the block's
  float scale, inverse;

  explicit PlainBlockScale(const float* x) {
    float peak[8] = {}, largest = 0;
    for (int i = 0; i < Activations::kColumns; ++i) {
      float& of_run = peak[i / 32];
      of_run = fabsf(x[i]) > of_run ? fabsf(x[i]) : of_run;
      largest = of_run > largest ? of_run : largest;
    }
    const bool tiny = !(largest > kTinyPeak);
    scale = largest / 127.0f;
    inverse = tiny ? 0 : 127.0f / largest;
    for (int run = 0; run < 8; ++run) quotient[run] = peak[run] / (tiny ? 1 : largest);
  }
};

/// Token t of a block: 256 values.
inline void put_activations(const float* x, int width, int t, std::byte* block) {
  using X = Activations;
  const PlainBlockScale block_scale(x);
  std::int8_t code[X::kColumns];
  std::int16_t sum[2 * X::kRuns] = {}, half_sum[2 * X::kRuns], run_sum[X::kRuns];
  float ratio[X::kRuns];
  std::uint32_t step[X::kRuns];
  std::uint8_t quarters[X::kRuns];
  std::int32_t negated[3 * X::kRuns];
  const float scale[1] = {block_scale.scale};
  for (int run = 0; run < X::kRuns; ++run) {
    const std::uint32_t bits = ratio_bits(float_bits(block_scale.quotient[run]));
    ratio[run] = bits_float(bits);
    step[run] = ratio_step(bits);
    quarters[run] = ratio_quarters(bits);
    std::int16_t* const sums = sum + 2 * run;
    round_run(x + 32 * run, block_scale.inverse / ratio[run], code + 32 * run, sums);
    for (int i = 0; i < 2; ++i)
      half_sum[2 * run + i] = scaled_sum(ratio[run], X::kHalfSumUnits, sums[i]);
    run_sum[run] = scaled_sum(ratio[run], X::kRunSumUnits, sums[0] + sums[1]);
    for (int i = 0; i < 3; ++i) negated[3 * run + i] = i == 0 ? -sums[0] - sums[1] : -sums[i - 1];
  }
  put_numbers(code, 4, width, t, block);
  put_numbers(sum, 2, width, t, block + X::kPairs * width);
  put_numbers(negated, 1, width, t, block + X::kSums * width);
  put_numbers(ratio, 1, width, t, block + X::kRatio * width);
  put_numbers(step, 1, width, t, block + X::kStep * width);
  put_numbers(quarters, 1, width, t, block + X::kQuarters * width);
  put_numbers(run_sum, 2, width, t, block + X::kRunSums * width);
  put_numbers(half_sum, 2, width, t, block + X::kHalfSums * width);
  put_numbers(scale, 1, width, t, block + X::kScale * width);
}

/// put(x, width, t, block) for each block of a form X and each token.
template <class X, class Put>
inline void quantize_blocks(const QuantizeArgs& a, const Put& put) {
  float padded[X::kColumns];
  for (int t = 0; t < a.width; ++t)
    for (int i = 0; i < activation_blocks(a.cols); ++i)
      put(whole_block(a.x + static_cast<std::size_t>(t) * a.stride, X::kColumns * i,
                      t < a.n_tokens ? a.cols : 0, padded),
          a.width, t, a.tile + static_cast<std::ptrdiff_t>(i) * a.width * X::kTokenBytes);
}

inline void quantize_plain(const QuantizeArgs& a) noexcept {
  quantize_blocks<Activations>(a, put_activations);
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
