#pragma once
// The tiles of tile_products.h in plain C++: what the processor's instructions and the expansions
// of instruction sets are checked against.
#include "kernels/panels/plain_panels.h"
#include "kernels/panels/tile_products.h"

namespace lq::kernels {
namespace {

/// Subnormal numbers as 0 of their sign, as the instructions on bfloat16 take and give them.
inline float without_subnormal(float value) {
  const std::uint32_t bits = float_bits(value);
  return (bits & 0x7f800000u) == 0 ? bits_float(bits & 0x80000000u) : value;
}

inline std::uint16_t round_to_bfloat(float value) {
  return float_to_bfloat(without_subnormal(value));
}

class PlainTiles : public TileRegisters<PlainTiles> {
 public:
  static constexpr int kBlockTokens = kMostBlockTokens, kChunkSteps = 64;  ///< 1 MB

  template <int kTile>
  void zero() {
    tile_[kTile] = {};
  }
  template <int kTile>
  void load(const void* from, std::size_t stride) {
    for (std::size_t i = 0; i < kTileSide; ++i)
      memcpy(tile_[kTile].word[i], static_cast<const std::byte*>(from) + i * stride, kTileRow);
  }
  template <int kTile>
  void store(void* to, std::size_t stride) const {
    for (std::size_t i = 0; i < kTileSide; ++i)
      memcpy(static_cast<std::byte*>(to) + i * stride, tile_[kTile].word[i], kTileRow);
  }

  /// C += A B: first columns of the pairs and second ones are summed apart, each with one rounding
  /// a product, and what they give together is added to C.
  template <int kC, int kA, int kB>
  void add_product() {
    for (int m = 0; m < kTileSide; ++m)
      for (int n = 0; n < kTileSide; ++n) {
        float sum[2] = {};
        for (int k = 0; k < kTileSide; ++k)
          for (int i = 0; i < 2; ++i)
            sum[i] = without_subnormal(fmaf(bfloat(kA, m, k, i), bfloat(kB, k, n, i), sum[i]));
        std::uint32_t& word = tile_[kC].word[m][n];
        const float total =
            without_subnormal(bits_float(word)) + without_subnormal(sum[0] + sum[1]);
        word = float_bits(without_subnormal(total));
      }
  }

  template <PanelForm F>
  static void expand(const std::byte* tile, int run, std::byte* b) {
    for (int c = 0; c < kStepColumns; ++c)
      for (int r = 0; r < kPanelRows; ++r) {
        const WeightScale scale = weight_scale<F>(tile, run, c / 4, r);
        const int code = panel_code<F>(tile, 8 * run + c / 4, 4 * r + c % 4) - scale.zero;
        const std::uint16_t weight =
            round_to_bfloat(fmaf(static_cast<float>(code), scale.step, scale.low));
        memcpy(b + c / 2 * kTileRow + 4 * r + c % 2 * 2, &weight, sizeof weight);
      }
  }

  template <class Block>
  static void expand_floats(const std::byte* from, std::byte* b) {
    for (int c = 0; c < kStepColumns; ++c)
      for (int r = 0; r < kPanelRows; ++r) {
        const std::uint16_t weight = round_to_bfloat(plain_weight<Block>(from, c, r));
        memcpy(b + c / 2 * kTileRow + 4 * r + c % 2 * 2, &weight, sizeof weight);
      }
  }

  static void round_columns(const float* x, std::byte* to) {
    for (int i = 0; i < kStepColumns; ++i) {
      const std::uint16_t rounded = round_to_bfloat(x[i]);
      memcpy(to + 2 * i, &rounded, sizeof rounded);
    }
  }

 private:
  struct Matrix {
    std::uint32_t word[kTileSide][kTileSide];
  };
  /// Number i of pair j of row `row`.
  float bfloat(int tile, int row, int j, int i) const {
    const std::uint32_t pair = tile_[tile].word[row][j];
    return without_subnormal(bits_float(i == 0 ? pair << 16 : pair & 0xffff0000u));
  }

  Matrix tile_[8] = {};
};

}  // namespace
}  // namespace lq::kernels
