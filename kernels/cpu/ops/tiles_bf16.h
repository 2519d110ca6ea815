#pragma once
// The tiles of tile_products.h: AVX-512's BF16. A tile of C is 16 registers, a token each.
#include "kernels/cpu/ops/expand_avx512.h"

namespace lq::kernels {
namespace {

class TilesBf16 : public ExpandAvx512 {
 public:
  static constexpr int kBlockTokens = kMostBlockTokens, kChunkSteps = 32;  ///< 512 KB

  template <int kTokens, int kPanels, class Advance>
  void multiply_steps(const TileSteps& steps, const Advance& advance) {
    for (int p = 0; p < kPanels; ++p)
      for (int t = 0; t < kTokens; ++t)
        multiply_tile(steps, steps.x + t * kMatrixBytes, steps.b + p * kMatrixBytes,
                      kPanels * kMatrixBytes, steps.sums[t * kTileSide] + p * kPanelRows);
    for (int i = 0; i < steps.n_steps; ++i) advance();
  }

 private:
  static constexpr std::ptrdiff_t kSumRow = 2 * kPanelRows;

  static void multiply_tile(const TileSteps& steps, const std::byte* a, const std::byte* b,
                            std::ptrdiff_t b_step, float* c) {
    __m512 sum[kTileSide];
#pragma GCC unroll 16
    for (int t = 0; t < kTileSide; ++t)
      sum[t] = steps.begins ? _mm512_setzero_ps() : _mm512_load_ps(c + kSumRow * t);
    for (int i = 0; i < steps.n_steps; ++i, a += steps.x_step, b += b_step)
      for (int k = 0; k < kTileSide; ++k) {
        const auto weights = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + kTileRow * k));
#pragma GCC unroll 16
        for (int t = 0; t < kTileSide; ++t)
          sum[t] = _mm512_dpbf16_ps(
              sum[t], weights,
              reinterpret_cast<__m512bh>(VnniRows512::broadcast_word(a + kTileRow * t + 4 * k)));
      }
#pragma GCC unroll 16
    for (int t = 0; t < kTileSide; ++t) _mm512_store_ps(c + kSumRow * t, sum[t]);
  }
};

}  // namespace
}  // namespace lq::kernels
