#pragma once
// Products with panels, for any instruction set. Few tokens: tiles are unpacked in registers as
// they stream by. Many: 256 columns of a panel are unpacked into the first cache and multiplied
// with a block of tokens whose activations stay in the second.
//
// A set says how tiles are read and multiplied:
//
//   kWidest          tokens of the widest tile of activations: 4, 8
//   Scales<F>        unpack(tile); add_product<T>(codes, x, y): y[T][16] += the tile times x
//   Packed<F>        codes of a tile as it is stored
//   Unpacked         codes as bytes
//   unpack_codes<F>  from the first to the second
//
// and V of float_products.h how panels of floats are.
#include "kernels/blocks/all_blocks.h"
#include "kernels/cpu/ops/float_products.h"
#include "kernels/cpu/ops/quantize_avx2.h"
#include "kernels/cpu/ops/store_rows.h"
#include "kernels/panels/encode.h"

namespace lq::kernels {
namespace {

constexpr int kTokensABlock = 128;  ///< whose sums stay in the first cache

/// Bytes of a tile's columns for each token.
template <PanelForm F>
constexpr int kTokenBytes = PanelLayout<F>::kColumns / 32 * Activations::kTokenBytes;

/// All tokens in one tile of T.
template <class Set, PanelForm F, int T>
inline void multiply_few(const PanelMatmulArgs& a) {
  using Layout = PanelLayout<F>;
  // Two planes of a tile are streams of their own, which the processor's prefetcher loses again and
  // again. One plane is one stream: further ahead would cost. Beyond the panels' end nothing is
  // fetched.
  constexpr int kAheadBytes = F.high_bits > 0 ? 12288 : 4096;
  constexpr int kAhead = (kAheadBytes + Layout::kBytes - 1) / Layout::kBytes;
  const int n_tiles = Layout::tiles(a.cols);
  const std::byte* tile =
      a.panels + static_cast<std::ptrdiff_t>(a.panel_begin) * n_tiles * Layout::kBytes;
  for (int p = a.panel_begin; p < a.panel_end; ++p) {
    alignas(64) float y[T][kPanelRows] = {};
    const std::byte* x = a.x;
    for (int i = 0; i < n_tiles; ++i, tile += Layout::kBytes, x += T * kTokenBytes<F>) {
      for (int line = 0; line < Layout::kBytes; line += 64)
        __builtin_prefetch(tile + kAhead * Layout::kBytes + line);
      typename Set::template Scales<F> scales;
      scales.unpack(tile);
      scales.template add_product<T>(typename Set::template Packed<F>{tile}, x, y);
    }
    store_rows(a, p, 0, a.n_tokens, y);
  }
}

/// One panel times tokens [first, first + n_tokens), in tiles of Set::kWidest.
template <class Set, PanelForm F>
inline void multiply_panel(const PanelMatmulArgs& a, int panel, int first, int n_tokens) {
  using Layout = PanelLayout<F>;
  constexpr int T = Set::kWidest, kTogether = 256 / Layout::kColumns;
  const int n_tiles = Layout::tiles(a.cols);
  alignas(64) float y[kTokensABlock][kPanelRows];
  __builtin_memset(y, 0, static_cast<std::size_t>((n_tokens + T - 1) / T * T) * sizeof y[0]);
  alignas(64) std::uint8_t code[256 / 4 * kUnitBytes];
  typename Set::template Scales<F> scales[kTogether];
  const std::byte* tile = a.panels + static_cast<std::ptrdiff_t>(panel) * n_tiles * Layout::kBytes;
  const auto x_tile = static_cast<std::ptrdiff_t>(activation_bytes(a.cols)) * T;
  for (int i = 0; i < n_tiles; i += kTogether) {
    const int n = n_tiles - i < kTogether ? n_tiles - i : kTogether;
    for (int j = 0; j < n; ++j, tile += Layout::kBytes) {
      scales[j].unpack(tile);
      Set::template unpack_codes<F>(tile, code + kUnitBytes * Layout::kUnits * j);
    }
    for (int t = 0; t < n_tokens; t += T) {
      const std::byte* x = a.x + (first + t) / T * x_tile + i * T * kTokenBytes<F>;
      for (int j = 0; j < n; ++j, x += T * kTokenBytes<F>)
        scales[j].template add_product<T>(
            typename Set::Unpacked{code + kUnitBytes * Layout::kUnits * j}, x, y + t);
    }
  }
  store_rows(a, panel, first, n_tokens, y);
}

template <class Set, PanelForm F, int T>
inline void multiply_few_up_to(const PanelMatmulArgs& a) {
  if constexpr (T > 1)
    if (a.n_tokens <= T / 2) return multiply_few_up_to<Set, F, T / 2>(a);
  multiply_few<Set, F, T>(a);
}

template <class Set, class Block>
void multiply_panels(const PanelMatmulArgs& a) noexcept {
  constexpr PanelForm F = Block::kPanel;
  if (a.n_tokens <= Set::kWidest) return multiply_few_up_to<Set, F, Set::kWidest>(a);
  for (int first = 0; first < a.n_tokens; first += kTokensABlock) {
    const int n = a.n_tokens - first < kTokensABlock ? a.n_tokens - first : kTokensABlock;
    for (int p = a.panel_begin; p < a.panel_end; ++p) multiply_panel<Set, F>(a, p, first, n);
  }
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
