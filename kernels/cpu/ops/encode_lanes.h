#pragma once
// Encoders with a group of values in each of 16 lanes. Bytes are those of the types' own encode(),
// which also does the blocks that a search reports as odd.
#include <string.h>

#include "kernels/blocks/all_blocks.h"
#include "kernels/blocks/rows.h"
#include "kernels/cpu/ops/search_lanes.h"
#include "kernels/cpu/ops/transpose_avx2.h"

namespace lq::kernels {
namespace {

/// 16 groups of N values, one after the other, side by side: out [N][kLanes].
template <int N>
void lay_in_lanes(const float* x, float* out) {
  for (int g = 0; g < kLanes; g += 8)
    for (int i = 0; i < N; i += 8) transpose_8(x + g * N + i, N, out + i * kLanes + g, kLanes);
}

/// Weights of importance_weights(); x, weight: [N][kLanes].
template <int N, class Lanes>
void weigh_by_importance(const float* x, const float* importance, Lanes mean_square,
                         float* weight) {
  lay_in_lanes<N>(importance, weight);
  for (int i = 0; i < N; ++i) {
    const Lanes value = lanes_at<Lanes>(x, i);
    (lanes_at<Lanes>(weight, i) * square_root(mean_square + value * value))
        .store(weight + i * kLanes);
  }
}

template <int N, class Lanes>
Lanes sum_lanes(const float* x) {
  Lanes sum = Lanes::all(0);
  for (int i = 0; i < N; ++i) sum = sum + lanes_at<Lanes>(x, i);
  return sum;
}

/// sum_of_squares() of up to 8 blocks of 256 values.
inline void squares_of_blocks(const float* x, int n_blocks, float* sum) {
  alignas(32) float beside[64];
  __m256 total = _mm256_setzero_ps();
  if (n_blocks < 8) {
    for (int b = 0; b < n_blocks; ++b) sum[b] = sum_of_squares(x + 256 * b, 256);
    return;
  }
  for (int i = 0; i < 256; i += 8) {
    transpose_8(x + i, 256, beside, 8);
    for (int k = 0; k < 8; ++k) {
      const __m256 v = _mm256_load_ps(beside + 8 * k);
      total = _mm256_add_ps(total, _mm256_mul_ps(v, v));
    }
  }
  _mm256_storeu_ps(sum, total);
}

/// Codes of kSize consecutive values: rounded (x + low) / step, within [least, most], plus offset.
template <class Lanes, int kSize>
void divided_codes(const float* x, float low, float step, int least, int most, std::uint8_t* code) {
  const Lanes l = Lanes::all(low), s = Lanes::all(step);
  for (int i = 0; i < kSize; i += kLanes)
    store_codes((Lanes::load(x + i) + l) / s, least, most, -least, code + i);
}

/// A type's encode() for those blocks of a batch whose bit is set.
template <class Block>
void encode_odd_blocks(unsigned odd, const float* x, const float* importance, Block* blocks) {
  for (int b = 0; odd != 0; ++b, odd >>= 1) {
    if ((odd & 1u) == 0) continue;
    Importance hints;
    if (importance) hints.weight = importance + b * Block::kValues;
    encode(x + b * Block::kValues, hints, blocks[b]);
  }
}

}  // namespace
}  // namespace lq::kernels
