#pragma once
// The grids of the IQ types: points, signs and what a decoder makes of them.
#include <cstdint>

#include "kernels/half.h"

namespace lq::kernels {

/// <name>_point(i): point i of a grid, as grid_points.def packs it. i must be below their number.
#define LQ_GRID(name, values, n_points, shells, listed, ...)          \
  LQ_HD int name##_point(int i) {                                     \
    static constexpr std::uint16_t kPoints[n_points] = {__VA_ARGS__}; \
    return kPoints[i];                                                \
  }
#include "kernels/blocks/grid_points.def"
#undef LQ_GRID

/// Level k of a point of 8 levels, and of one of 4.
LQ_HD int level_of_8(int point, int k) { return (point >> (2 * k)) & 3; }
LQ_HD int level_of_4(int point, int k) { return (point >> (3 * k)) & 7; }

/// Signs of 8 values, bit k set: value k is negative. Types that store 7 bits of them make the
/// number of negative values even.
LQ_HD int even_signs(int seven_bits) {
  int odd = seven_bits ^ (seven_bits >> 4);
  odd ^= odd >> 2;
  odd ^= odd >> 1;
  return seven_bits | ((odd & 1) << 7);
}

LQ_HD float with_sign(float magnitude, int signs, int k) {
  const std::uint32_t sign = (static_cast<std::uint32_t>(signs) >> k) & 1;
  return bits_float(float_bits(magnitude) ^ (sign << 31));  // no branch: signs are coin tosses
}

/// The i-th of 4-bit codes that share bytes, the even ones in the low nibble.
LQ_HD int paired_nibble(const std::uint8_t* packed, int i) {
  return (packed[i / 2] >> (4 * (i % 2))) & 15;
}

/// 32 bits, low byte first.
LQ_HD std::uint32_t load_word(const std::uint8_t* bytes) {
  std::uint32_t word = 0;
  for (int i = 0; i < 4; ++i) word |= static_cast<std::uint32_t>(bytes[i]) << (8 * i);
  return word;
}
LQ_HD void store_word(std::uint32_t word, std::uint8_t* bytes) {
  for (int i = 0; i < 4; ++i) bytes[i] = static_cast<std::uint8_t>((word >> (8 * i)) & 0xff);
}

/// The step of a group of 2-bit levels with this code for its scale.
LQ_HD float two_bit_step(float scale, int code) {
  return scale * (0.5f + static_cast<float>(code)) * 0.25f;
}
/// Eight values of 2-bit levels: 8, 25 or 43 steps.
LQ_HD void decode_two_bit_point(int point, int signs, float step, float* out) {
  for (int k = 0; k < 8; ++k) {
    const int level = level_of_8(point, k);
    out[k] = with_sign(step * static_cast<float>(8 + 17 * level + (level >> 1)), signs, k);
  }
}

/// Four values of 3-bit levels, whose signs are bits 0..3: odd numbers of steps in IQ3_S, else 4,
/// 12 and so on, of which the last is a little larger.
LQ_HD void decode_odd_point(int point, int signs, float step, float* out) {
  for (int k = 0; k < 4; ++k)
    out[k] = with_sign(step * static_cast<float>(2 * level_of_4(point, k) + 1), signs, k);
}
LQ_HD void decode_three_bit_point(int point, int signs, float step, float* out) {
  for (int k = 0; k < 4; ++k) {
    const int level = level_of_4(point, k);
    out[k] = with_sign(step * static_cast<float>(4 + 8 * level + (level == 7 ? 2 : 0)), signs, k);
  }
}

/// Eight values of 1-bit types: -1, 0 or 1, shifted by delta.
LQ_HD void decode_one_bit_point(int point, float delta, float step, float* out) {
  for (int k = 0; k < 8; ++k)
    out[k] = step * (static_cast<float>(level_of_8(point, k) - 1) + delta);
}

/// IQ1_S and IQ1_M shift the values of a point by this, up or down.
static constexpr float kOneBitShift = 0.125f;

}  // namespace lq::kernels
