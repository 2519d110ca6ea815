#pragma once
// Products with panels, for any instruction set. Few tokens: tiles are unpacked in registers as
// they stream by. Many: 256 columns of a panel are unpacked into the first cache and multiplied
// with a block of tokens and columns whose activations stay in the second.
//
// A set says how tiles are read and multiplied:
//
//   X                form of the activations: kTokenBytes of 256 columns
//   kWidest          tokens of the widest tile of activations: 4, 8
//   kBlockTokens     whose sums stay in the first cache
//   kBlockColumns    whose activations stay in the second; a multiple of 256
//   Few<F>, Many<F>  scales of 256 columns for few and many tokens: unpack(tiles, n_tiles);
//                    add_product<T>(codes, n_tiles, x, y): y[T][16] += the tiles times x
//   Packed<F>        codes of 256 columns as they are stored; for few tokens
//   Unpacked         codes as bytes
//   unpack_run<F>(tiles, run, scales, code)  codes of 32 columns, when scales are unpacked
//
// and V of float_products.h how panels of floats are.
#include "kernels/blocks/all_blocks.h"
#include "kernels/cpu/ops/float_products.h"
#include "kernels/cpu/ops/quantize_avx2.h"
#include "kernels/cpu/ops/store_rows.h"
#include "kernels/panels/encode.h"

namespace lq::kernels {
namespace {

/// All tokens in one tile of T. A panel is one stream, which the processor fetches ahead by itself:
/// instructions that do so cost a tenth to a third of the speed.
template <class Set, PanelForm F, int T>
inline void multiply_few(const PanelMatmulArgs& a) {
  using Layout = PanelLayout<F>;
  const int n_tiles = Layout::tiles(a.cols);
  const std::byte* tile =
      a.panels + static_cast<std::ptrdiff_t>(a.panel_begin) * n_tiles * Layout::kBytes;
  for (int p = a.panel_begin; p < a.panel_end; ++p) {
    alignas(64) float y[T][kPanelRows] = {};
    const std::byte* x = a.x;
    for (int i = 0; i < n_tiles; i += Layout::kTogether, x += T * Activations::kTokenBytes) {
      const int n = n_tiles - i < Layout::kTogether ? n_tiles - i : Layout::kTogether;
      typename Set::template Few<F> scales;
      scales.unpack(tile, n);
      scales.template add_product<T>(typename Set::template Packed<F>{tile}, n, x, y);
      tile += n * Layout::kBytes;
    }
    store_rows(a, p, 0, a.n_tokens, y);
  }
}

/// Tokens [first, first + n_tokens) and columns [first_column, end_column): what panels are
/// multiplied with while it stays in the second cache.
struct ActivationBlock {
  int first, n_tokens;
  int first_column, end_column;
};

/// Sums of a tile of tokens as they begin: 0, or those of the columns before.
template <int T>
inline void begin_rows(const PanelMatmulArgs& a, int panel, int first, int n_tokens, bool continued,
                       float (*y)[kPanelRows]) {
  if (continued && n_tokens == T) return load_rows(a, panel, first, T, y);
  __builtin_memset(y, 0, T * sizeof y[0]);
  if (continued) load_rows(a, panel, first, n_tokens, y);
}

/// One panel times a block, in tiles of Set::kWidest tokens.
template <class Set, PanelForm F>
inline void multiply_panel(const PanelMatmulArgs& a, int panel, const ActivationBlock& block) {
  using Layout = PanelLayout<F>;
  constexpr int T = Set::kWidest;
  const int n_tiles = Layout::tiles(a.cols), end = Layout::tiles(block.end_column);
  alignas(64) float y[Set::kBlockTokens][kPanelRows];
  alignas(64) std::uint8_t code[256 / 4 * kUnitBytes];
  typename Set::template Many<F> scales;
  const int begin = block.first_column / Layout::kColumns;
  const std::byte* tile =
      a.panels + (static_cast<std::ptrdiff_t>(panel) * n_tiles + begin) * Layout::kBytes;
  constexpr std::ptrdiff_t kBlockBytes = T * Set::X::kTokenBytes;
  const std::ptrdiff_t x_tile = activation_blocks(a.cols) * kBlockBytes;
  const std::byte* x =
      a.x + block.first / T * x_tile + activation_blocks(block.first_column) * kBlockBytes;
  for (int i = begin; i < end; i += Layout::kTogether, x += kBlockBytes) {
    const int n = end - i < Layout::kTogether ? end - i : Layout::kTogether;
    scales.unpack(tile, n);
    for (int run = 0; run < n * Layout::kTileRuns; ++run)
      Set::template unpack_run<F>(tile, run, scales, code + kUnitBytes * kRunUnits * run);
    tile += n * Layout::kBytes;
    // What is unpacked next, and the results, come and go while tokens are multiplied.
    constexpr int kAtOnce = Layout::kTogether * Layout::kBytes / Set::kBlockTokens * T;
    for (int t = 0, next = 0; t < block.n_tokens; t += T) {
      for (int line = 0; line < kAtOnce; line += 64) __builtin_prefetch(tile + next + line);
      next += kAtOnce;
      const int n_tile = block.n_tokens - t < T ? block.n_tokens - t : T;
      if (i == begin)
        begin_rows<T>(a, panel, block.first + t, n_tile, block.first_column > 0, y + t);
      scales.template add_product<T>(typename Set::Unpacked{code}, n, x + t / T * x_tile, y + t);
      if (i + n == end) store_rows(a, panel, block.first + t, n_tile, y + t);
    }
  }
}

template <class Set, PanelForm F, int T>
inline void multiply_few_up_to(const PanelMatmulArgs& a) {
  if constexpr (T > 1)
    if (a.n_tokens <= T / 2) return multiply_few_up_to<Set, F, T / 2>(a);
  multiply_few<Set, F, T>(a);
}

template <class Set, PanelForm F>
inline void multiply_many(const PanelMatmulArgs& a) {
  constexpr int kTokens = Set::kBlockTokens, kColumns = Set::kBlockColumns;
  static_assert(kColumns % Activations::kColumns == 0);
  for (int first = 0; first < a.n_tokens; first += kTokens) {
    const int n = a.n_tokens - first < kTokens ? a.n_tokens - first : kTokens;
    for (int column = 0; column < a.cols; column += kColumns) {
      const int end = a.cols - column < kColumns ? a.cols : column + kColumns;
      for (int p = a.panel_begin; p < a.panel_end; ++p)
        multiply_panel<Set, F>(a, p, {first, n, column, end});
    }
  }
}

template <class Set, class Block>
void multiply_panels(const PanelMatmulArgs& a) noexcept {
  constexpr PanelForm F = Block::kPanel;
  if (a.n_tokens <= Set::kWidest) return multiply_few_up_to<Set, F, Set::kWidest>(a);
  multiply_many<Set, F>(a);
}

template <class Set, class V, class Block>
consteval void add_panel_type(PanelKernels& kernels, DType type) {
  if constexpr (HasPanel<Block>) {
    kernels.few.multiply[index_of(type)] = multiply_panels<Set, Block>;
    kernels.encode[index_of(type)] = encode_panel<Block>;
  }
  if constexpr (HasFloatPanel<Block>) {
    kernels.few.multiply_floats[index_of(type)] = multiply_floats<V, Block>;
    kernels.encode[index_of(type)] = encode_float_panel<Block>;
  }
}

template <class Set, class V>
consteval PanelKernels panel_kernels_of() {
  PanelKernels kernels{.few = {.widest_tile = Set::kWidest,
                               .activation_bytes = activation_bytes,
                               .quantize = quantize_avx2}};
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) \
  add_panel_type<Set, V, Block>(kernels, DType::id);
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  return kernels;
}

}  // namespace
}  // namespace lq::kernels
