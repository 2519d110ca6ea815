#pragma once
// TQ1_0: 256 codes of three values, five to a byte, under one half-precision scale; 1.6875 bits a
// value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/ternary.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockTQ1_0 {
  static constexpr int kValues = 256;
  std::uint8_t code[48];  ///< 32 bytes for the values 0..159, then 16 for 160..239: trit() below
  std::uint8_t last[4];   ///< the values 240..255, four to a byte
  std::uint16_t scale;    ///< binary16; value = (trit - 1) * scale
};
static_assert(sizeof(BlockTQ1_0) == 54, "TQ1_0 is stored on disk: layout is fixed");

/// Trit n of a byte, the first being the most significant: a byte is a fraction of 256 in base 3.
LQ_HD int trit(std::uint8_t byte, int n) {
  constexpr std::uint8_t powers[5] = {1, 3, 9, 27, 81};
  return (((byte * powers[n]) & 0xff) * 3) >> 8;
}
/// A byte of five trits of which trit n is code[n * stride]; the last is 0 if n_codes is 4.
LQ_HD std::uint8_t pack_trits(const std::uint8_t* code, int stride, int n_codes) {
  int number = 0;
  for (int n = 0; n < n_codes; ++n) number = 3 * number + code[n * stride];
  if (n_codes < 5) number *= 3;
  return static_cast<std::uint8_t>((number * 256 + 242) / 243);  // up, so that trit() finds it
}

LQ_HD void decode(const BlockTQ1_0& b, float* out) {
  const float scale = half_to_float(b.scale);
  for (int n = 0; n < 5; ++n) {
    for (int j = 0; j < 32; ++j)
      out[32 * n + j] = static_cast<float>(trit(b.code[j], n) - 1) * scale;
    for (int j = 0; j < 16; ++j)
      out[160 + 16 * n + j] = static_cast<float>(trit(b.code[32 + j], n) - 1) * scale;
  }
  for (int n = 0; n < 4; ++n)
    for (int j = 0; j < 4; ++j)
      out[240 + 4 * n + j] = static_cast<float>(trit(b.last[j], n) - 1) * scale;
}

/// Importance is unused: rounding to the scale of the largest magnitude leaves no choice.
LQ_HD void encode(const float* x, const Importance&, BlockTQ1_0& b) {
  std::uint8_t code[BlockTQ1_0::kValues];
  b.scale = float_to_half(ternary_codes(x, code));
  for (int j = 0; j < 32; ++j) b.code[j] = pack_trits(code + j, 32, 5);
  for (int j = 0; j < 16; ++j) b.code[32 + j] = pack_trits(code + 160 + j, 16, 5);
  for (int j = 0; j < 4; ++j) b.last[j] = pack_trits(code + 240 + j, 4, 4);
}

LQ_HD bool valid(const BlockTQ1_0& b) { return half_is_finite(b.scale); }

}  // namespace lq::kernels
