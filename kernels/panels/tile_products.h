#pragma once
// Products of panels with many tokens in tiles: registers of 16 rows of 64 bytes.
//
//   A   16 tokens x 32 columns            bfloat16, activations: written by quantize_tiles()
//   B   16 pairs of columns x 16 rows x 2 bfloat16, weights: 32 columns of a panel, expanded
//   C   16 tokens x 16 rows               binary32, sums: C += A B is one instruction
//
// A step is 32 columns. Two panels are multiplied at a time, in windows of 8 steps: B of a window
// stays in the first cache for all tokens of a block, and while one window is multiplied the next
// one is expanded, some of it after each step. A of a block of tokens stays in the second cache for
// all panels.
//
// A set of tiles says:
//
//   multiply_steps<tokens / 16, panels>(steps, advance)  C += A B for a window's steps, advance()
//                                  once for each; TileRegisters makes it of zero<T>(),
//                                  load<T>(from, stride), store<T>(to, stride) and
//                                  add_product<C, A, B>() with tiles 0-7
//   kBlockTokens, kChunkSteps      tokens and steps whose A stays in the second cache
//   expand<F>(tile, run, b)        columns [32 run, 32 run + 32) of a tile of a panel to B
//   expand_floats<Block>(from, b)  32 columns of a panel of numbers of 16 bits to B
//   round_columns(x, to)           32 values to bfloat16
//
// A weight is code * step + low, one rounding to binary32, then one to bfloat16. step is the scale
// of the tile times that of the group, low likewise, or -zero * step, which is exact: zero is a
// power of two. Where groups have zeros of their own, a weight is (code - zero) * step. Roundings
// to bfloat16 are to the nearest, ties to even; subnormal numbers become 0.
#include "kernels/blocks/all_blocks.h"
#include "kernels/panels/float_panels.h"
#include "kernels/panels/layout.h"

namespace lq::kernels {
namespace {

constexpr int kTileSide = 16;                      ///< rows of a tile; 32-bit numbers of a row
constexpr int kTileRow = 64, kMatrixBytes = 1024;  ///< bytes
constexpr int kStepColumns = 32;
constexpr int kWindowSteps = 8;  ///< two panels' B: 16 KB
constexpr int kMostBlockTokens = 256;
constexpr int kWidestMatrix = 2 * kTileSide;  ///< tokens whose tiles of A lie together

constexpr int tile_steps(int cols) { return (cols + kStepColumns - 1) / kStepColumns; }

/// A: [steps][width / 16][16 tokens][32 columns].
constexpr std::size_t tile_activation_bytes(int cols) noexcept {
  return static_cast<std::size_t>(tile_steps(cols)) * kTileRow;
}

template <class Tiles>
void quantize_tiles(const QuantizeArgs& a) noexcept {
  for (int t = 0; t < a.width; ++t) {
    const float* const x = a.x + static_cast<std::size_t>(t) * a.stride;
    std::byte* to = a.tile + t / kTileSide * kMatrixBytes + t % kTileSide * kTileRow;
    for (int c = 0; c < a.cols; c += kStepColumns, to += a.width * kTileRow) {
      const int left = t < a.n_tokens ? a.cols - c : 0;
      if (left >= kStepColumns) {
        Tiles::round_columns(x + c, to);
        continue;
      }
      float padded[kStepColumns];
      for (int i = 0; i < kStepColumns; ++i) padded[i] = i < left ? x[c + i] : 0;
      Tiles::round_columns(padded, to);
    }
  }
}

/// Panels whose numbers are of 16 bits: they become bfloat16 with one rounding, or none.
template <class Block>
concept HasHalfPanel = HasFloatPanel<Block> && !FloatLayout<Block>::kScaled && sizeof(Block) == 2;

/// A step of a panel: where it is, and how it becomes B.
template <class Block>
struct PanelSteps {
  static constexpr PanelForm F = Block::kPanel;
  using Layout = PanelLayout<F>;
  static constexpr int kTileSteps = Layout::kColumns / kStepColumns;
  static constexpr int kBytes = Layout::kBytes / kTileSteps;
  static_assert((F.zero & (F.zero - 1)) == 0);

  static constexpr std::ptrdiff_t panel_bytes(int cols) {
    return static_cast<std::ptrdiff_t>(Layout::tiles(cols)) * Layout::kBytes;
  }
  template <class Tiles>
  static void expand(const std::byte* panel, int step, int, std::byte* b) {
    Tiles::template expand<F>(panel + step / kTileSteps * Layout::kBytes, step % kTileSteps, b);
  }
};
template <HasHalfPanel Block>
struct PanelSteps<Block> {
  static constexpr int kBytes = kStepColumns * FloatLayout<Block>::kColumnBytes;

  static constexpr std::ptrdiff_t panel_bytes(int cols) {
    return FloatLayout<Block>::panel_bytes(cols);
  }
  template <class Tiles>
  static void expand(const std::byte* panel, int step, int cols, std::byte* b) {
    const std::byte* const from = panel + static_cast<std::ptrdiff_t>(step) * kBytes;
    const int left = cols - step * kStepColumns;
    if (left >= kStepColumns) return Tiles::template expand_floats<Block>(from, b);
    alignas(64) std::byte padded[kBytes] = {};
    memcpy(padded, from, static_cast<std::size_t>(left * FloatLayout<Block>::kColumnBytes));
    Tiles::template expand_floats<Block>(padded, b);
  }
};

/// The steps of a window for some tokens.
struct TileSteps {
  const std::byte* x;     ///< A of the first step
  std::ptrdiff_t x_step;  ///< bytes from one step to the next
  const std::byte* b;     ///< of the first step; panels of a step lie together
  int n_steps;
  float (*sums)[2 * kPanelRows];  ///< [tokens]
  bool begins;                    ///< there are no sums yet
};

/// For sets whose tiles are registers: multiply_steps() by their operations.
template <class Tiles>
class TileRegisters {
 public:
  template <int kTokens, int kPanels, class Advance>
  void multiply_steps(const TileSteps& steps, const Advance& advance) {
    if (steps.begins)
      zero_sums<kTokens, kPanels>();
    else
      load_sums<kTokens, kPanels>(steps.sums);
    const std::byte *x = steps.x, *b = steps.b;
    for (int i = 0; i < steps.n_steps; ++i, x += steps.x_step, b += kPanels * kMatrixBytes) {
      tiles().template load<6>(b, kTileRow);
      if constexpr (kPanels == 2) tiles().template load<7>(b + kMatrixBytes, kTileRow);
      tiles().template load<4>(x, kTileRow);
      tiles().template add_product<0, 4, 6>();
      if constexpr (kTokens == 2) tiles().template load<5>(x + kMatrixBytes, kTileRow);
      if constexpr (kPanels == 2) tiles().template add_product<1, 4, 7>();
      if constexpr (kTokens == 2) tiles().template add_product<2, 5, 6>();
      if constexpr (kTokens == 2 && kPanels == 2) tiles().template add_product<3, 5, 7>();
      advance();
    }
    store_sums<kTokens, kPanels>(steps.sums);
  }

 private:
  using Sums = float (*)[2 * kPanelRows];
  static constexpr std::size_t kSumRow = 2 * kPanelRows * sizeof(float);

  Tiles& tiles() { return static_cast<Tiles&>(*this); }

  template <int kTokens, int kPanels>
  void zero_sums() {
    tiles().template zero<0>();
    if constexpr (kPanels == 2) tiles().template zero<1>();
    if constexpr (kTokens == 2) tiles().template zero<2>();
    if constexpr (kTokens == 2 && kPanels == 2) tiles().template zero<3>();
  }
  template <int kTokens, int kPanels>
  void load_sums(Sums c) {
    tiles().template load<0>(c[0], kSumRow);
    if constexpr (kPanels == 2) tiles().template load<1>(c[0] + kTileSide, kSumRow);
    if constexpr (kTokens == 2) tiles().template load<2>(c[kTileSide], kSumRow);
    if constexpr (kTokens == 2 && kPanels == 2)
      tiles().template load<3>(c[kTileSide] + kTileSide, kSumRow);
  }
  template <int kTokens, int kPanels>
  void store_sums(Sums c) {
    tiles().template store<0>(c[0], kSumRow);
    if constexpr (kPanels == 2) tiles().template store<1>(c[0] + kTileSide, kSumRow);
    if constexpr (kTokens == 2) tiles().template store<2>(c[kTileSide], kSumRow);
    if constexpr (kTokens == 2 && kPanels == 2)
      tiles().template store<3>(c[kTileSide] + kTileSide, kSumRow);
  }
};

/// Steps [first, first + n_steps) of one panel or two.
struct TileWindow {
  int panel, n_panels;
  int first, n_steps;
};

/// The weights of a window, expanded part by part; a part is a step of a panel.
template <class Tiles, class Block>
class WindowExpansion {
  using Steps = PanelSteps<Block>;

 public:
  /// advance() will be called n_calls times. Memory of the window `later` is prefetched.
  WindowExpansion(const PanelMatmulArgs& a, TileWindow window, TileWindow later, std::byte* b,
                  int n_calls)
      : panels_(a.panels),
        cols_(a.cols),
        panel_bytes_(Steps::panel_bytes(a.cols)),
        window_(window),
        later_(later),
        b_(b),
        n_calls_(n_calls) {}

  /// What is due after one more call.
  void advance() {
    for (due_ += window_.n_panels * window_.n_steps; due_ >= n_calls_; due_ -= n_calls_) {
      expand_part();
      if (++panel_ < window_.n_panels) continue;
      panel_ = 0;
      ++step_;
    }
  }

 private:
  void expand_part() {
    const std::byte* const ahead =
        panels_ + (later_.panel + panel_) * panel_bytes_ + (later_.first + step_) * Steps::kBytes;
    for (int line = 0; line < Steps::kBytes; line += kUnitBytes) __builtin_prefetch(ahead + line);
    Steps::template expand<Tiles>(panels_ + (window_.panel + panel_) * panel_bytes_,
                                  window_.first + step_, cols_, b_);
    b_ += kMatrixBytes;
  }

  const std::byte* panels_;
  int cols_;
  std::ptrdiff_t panel_bytes_;
  TileWindow window_, later_;
  std::byte* b_;
  int n_calls_, due_ = 0;
  int panel_ = 0, step_ = 0;  ///< of the next part, in the window
};

/// A product of many tokens.
template <class Tiles, class Block>
class TileProducts {
 public:
  // Leaves the memory of b_ and c_ as it is.
  explicit TileProducts(const PanelMatmulArgs& a)
      : a_(a), width_(tile_width(a.n_tokens, kWidestMatrix)), steps_(tile_steps(a.cols)) {}

  void run() {
    constexpr int kTokens = Tiles::kBlockTokens;
    static_assert(kTokens <= kMostBlockTokens && kTokens % kWidestMatrix == 0);
    for (first_token_ = 0; first_token_ < a_.n_tokens; first_token_ += kTokens) {
      n_tokens_ = least(a_.n_tokens - first_token_, kTokens);
      for (int step = 0; step < steps_; step += Tiles::kChunkSteps)
        multiply_chunk(step, least(step + Tiles::kChunkSteps, steps_));
    }
  }

 private:
  using Expansion = WindowExpansion<Tiles, Block>;

  static int least(int a, int b) { return a < b ? a : b; }

  /// The panels' steps [begin, end), added to y where begin is not 0.
  void multiply_chunk(int begin, int end) {
    TileWindow window = window_at(a_.panel_begin, begin, end);
    if (window.n_panels <= 0) return;
    TileWindow next = window_after(window, begin, end);
    int half = 0;
    Expansion(a_, window, next, b_[half], 1).advance();
    while (window.n_panels > 0) {
      const TileWindow later = window_after(next, begin, end);
      if (window.first == begin && begin > 0) read_sums(window);
      if (window.n_panels == 2)
        multiply_window<2>(window, next, later, half);
      else
        multiply_window<1>(window, next, later, half);
      if (window.first + window.n_steps == end) write_sums(window);
      window = next;
      next = later;
      half ^= 1;
    }
  }

  /// n_panels is not above 0 beyond the last panel.
  TileWindow window_at(int panel, int step, int end) const {
    return {panel, least(a_.panel_end - panel, 2), step, least(end - step, kWindowSteps)};
  }
  TileWindow window_after(TileWindow w, int begin, int end) const {
    const int step = w.first + w.n_steps;
    return step < end ? window_at(w.panel, step, end) : window_at(w.panel + 2, begin, end);
  }

  template <int kPanels>
  void multiply_window(TileWindow window, TileWindow next, TileWindow later, int half) {
    if (next.n_panels <= 0) next.n_panels = next.n_steps = 0;
    const int n_blocks = (n_tokens_ + kWidestMatrix - 1) / kWidestMatrix;
    Expansion expansion(a_, next, later, b_[half ^ 1], n_blocks * window.n_steps);
    for (int t = 0; t < n_tokens_; t += kWidestMatrix)
      if (n_tokens_ - t > kTileSide)
        multiply_block<2, kPanels>(window, t, b_[half], expansion);
      else
        multiply_block<1, kPanels>(window, t, b_[half], expansion);
  }

  /// kTokens tiles of tokens from `token` of the block on.
  template <int kTokens, int kPanels>
  void multiply_block(TileWindow window, int token, const std::byte* b, Expansion& expansion) {
    const std::ptrdiff_t x_step = width_ * kTileRow;
    const std::byte* const x =
        a_.x +
        (first_token_ + token) * static_cast<std::ptrdiff_t>(tile_activation_bytes(a_.cols)) +
        window.first * x_step;
    tiles_.template multiply_steps<kTokens, kPanels>(
        {x, x_step, b, window.n_steps, c_ + token, window.first == 0},
        [&] { expansion.advance(); });
  }

  std::size_t row_bytes(TileWindow window) const {
    const int rows = least(a_.rows - window.panel * kPanelRows, window.n_panels * kPanelRows);
    return static_cast<std::size_t>(rows) * sizeof(float);
  }
  float* result(TileWindow window, int token) const {
    return a_.y + static_cast<std::size_t>(first_token_ + token) * a_.y_stride +
           window.panel * kPanelRows;
  }
  void read_sums(TileWindow window) {
    const std::size_t bytes = row_bytes(window);
    for (int t = 0; t < n_tokens_; ++t) copy_row(c_[t], result(window, t), bytes);
  }
  void write_sums(TileWindow window) const {
    const std::size_t bytes = row_bytes(window);
    for (int t = 0; t < n_tokens_; ++t) copy_row(result(window, t), c_[t], bytes);
  }
  static void copy_row(float* to, const float* from, std::size_t bytes) {
    if (bytes == sizeof c_[0])  // a known size: no call
      memcpy(to, from, sizeof c_[0]);
    else
      memcpy(to, from, bytes);
  }

  const PanelMatmulArgs& a_;
  Tiles tiles_;
  int width_, steps_;
  int first_token_ = 0, n_tokens_ = 0;  ///< of the block
  alignas(64) std::byte b_[2][2 * kWindowSteps * kMatrixBytes];
  alignas(64) float c_[kMostBlockTokens][2 * kPanelRows];
};

/// At least 16 tokens.
template <class Tiles, class Block>
void multiply_tiles(const PanelMatmulArgs& a) noexcept {
  TileProducts<Tiles, Block>(a).run();
}

/// kHalves: only types whose panels are numbers of 16 bits.
template <class Tiles, bool kHalves, class Block>
consteval void add_tile_type(PanelProducts& products, DType type) {
  if constexpr (HasHalfPanel<Block> || (HasPanel<Block> && !kHalves))
    products.multiply[index_of(type)] = multiply_tiles<Tiles, Block>;
}

template <class Tiles, bool kHalves = false>
consteval PanelProducts tile_products_of(int least_tokens = kTileSide) {
  PanelProducts products{.widest_tile = kWidestMatrix,
                         .least_tokens = least_tokens,
                         .activation_bytes = tile_activation_bytes,
                         .quantize = quantize_tiles<Tiles>};
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) \
  add_tile_type<Tiles, kHalves, Block>(products, DType::id);
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  return products;
}

}  // namespace
}  // namespace lq::kernels
