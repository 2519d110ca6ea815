#pragma once
// What the types with 32 codes of 4 or 5 bits share.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

/// Code i of 32: the low nibbles hold the first 16, the high ones the rest.
LQ_HD int nibble(const std::uint8_t* packed, int i) {
  return i < 16 ? packed[i] & 15 : packed[i - 16] >> 4;
}
LQ_HD void store_nibbles(const std::uint8_t* code, std::uint8_t* packed) {
  for (int i = 0; i < 16; ++i)
    packed[i] = static_cast<std::uint8_t>((code[i] & 15) | ((code[i + 16] & 15) << 4));
}

LQ_HD void take_nibbles(const std::uint8_t* packed, std::uint8_t* code) {
  for (int j = 0; j < 16; ++j) {
    code[j] = packed[j] & 15;
    code[j + 16] = packed[j] >> 4;
  }
}

/// Bit 4 of code i, in its place.
LQ_HD int fifth_bit(const std::uint8_t* packed, int i) {
  return ((packed[i / 8] >> (i % 8)) & 1) << 4;
}
LQ_HD void store_fifth_bits(const std::uint8_t* code, std::uint8_t* packed) {
  for (int j = 0; j < 4; ++j) {
    int bits = 0;
    for (int i = 0; i < 8; ++i) bits |= ((code[8 * j + i] >> 4) & 1) << i;
    packed[j] = static_cast<std::uint8_t>(bits);
  }
}

/// x ~ code * scale + low.
struct Range {
  float scale, low;
};

/// From the smallest to the largest of N values in kMax steps.
template <int N, int kMax>
LQ_HD Range full_range(const float* x) {
  float low = x[0], high = x[0];
  for (int i = 1; i < N; ++i) {
    if (x[i] < low) low = x[i];
    if (x[i] > high) high = x[i];
  }
  return {(high - low) / kMax, low};
}

template <int N, int kMax>
LQ_HD Range fit_range_by_importance(const float* x, const Importance& hints, std::uint8_t* code) {
  AffineProblem<N, 1> problem;
  lay_side_by_side<N, 1>(x, problem.x);
  importance_weights<N, 1>(x, hints.weight, hints.row_mean_square, problem.weight, nullptr);
  const AffineFits<1> fit = search_affine<kMax>(problem, importance_candidates(), code);
  return {fit.scale[0], -fit.min[0]};
}

}  // namespace lq::kernels
