#pragma once
// The 2-bit planes of Q2_K and Q3_K: byte 32 h + l holds the values 128 h + l + 32 t, t = 0..3, of
// a block of 256 in its bits 2 t and 2 t + 1.
#include <cstdint>

#include "kernels/hd.h"

namespace lq::kernels {

LQ_HD int two_bits(const std::uint8_t* packed, int i) {
  return (packed[32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32))) & 3;
}

/// `code`: 256 codes below 4.
LQ_HD void store_two_bits(const std::uint8_t* code, std::uint8_t* packed) {
  for (int i = 0; i < 64; ++i) {
    const std::uint8_t* c = code + 128 * (i / 32) + i % 32;
    packed[i] = static_cast<std::uint8_t>(c[0] | (c[32] << 2) | (c[64] << 4) | (c[96] << 6));
  }
}

}  // namespace lq::kernels
