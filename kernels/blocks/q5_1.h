#pragma once
// Q5_1: 32 unsigned 5-bit codes with a half-precision scale and minimum; 6 bits a value.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/nibbles.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ5_1 {
  static constexpr int kValues = 32;
  static constexpr PanelForm kPanel{.low_bits = 4, .high_bits = 1, .group = 32, .mins = true};
  std::uint16_t scale;    ///< binary16; value[i] = code[i] * scale + low
  std::uint16_t low;      ///< binary16
  std::uint8_t high[4];   ///< bit i % 8 of high[i / 8]: bit 4 of code i
  std::uint8_t code[16];  ///< low 4 bits: code j in the low nibble of [j], code j + 16 in the high
};
static_assert(sizeof(BlockQ5_1) == 24, "Q5_1 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ5_1& b, float* out) {
  const float scale = half_to_float(b.scale), low = half_to_float(b.low);
  for (int i = 0; i < BlockQ5_1::kValues; ++i)
    out[i] = static_cast<float>(nibble(b.code, i) | fifth_bit(b.high, i)) * scale + low;
}

LQ_HD void store_codes(const std::uint8_t* code, BlockQ5_1& b) {
  store_fifth_bits(code, b.high);
  store_nibbles(code, b.code);
}

LQ_HD void encode(const float* x, const Importance& hints, BlockQ5_1& b) {
  constexpr int n = BlockQ5_1::kValues;
  std::uint8_t code[n];
  Range range;
  if (hints.weight) {
    range = fit_range_by_importance<n, 31>(x, hints, code);
  } else {
    range = full_range<n, 31>(x);
    const float inverse = range.scale != 0 ? 1 / range.scale : 0;
    for (int i = 0; i < n; ++i)  // the format does not clamp: 5 bits of the code are stored
      code[i] =
          static_cast<std::uint8_t>(truncate_int32((x[i] - range.low) * inverse + 0.5f) & 0xff);
  }
  b.scale = float_to_half(range.scale);
  b.low = float_to_half(range.low);
  store_codes(code, b);
}

LQ_HD void take_apart(const BlockQ5_1& b, FlatParts& out) {
  out.scale = b.scale;
  out.low = b.low;
  for (int i = 0; i < BlockQ5_1::kValues; ++i)
    out.code[i] = static_cast<std::uint8_t>(nibble(b.code, i) | fifth_bit(b.high, i));
}

LQ_HD bool valid(const BlockQ5_1& b) { return half_is_finite(b.scale) && half_is_finite(b.low); }

}  // namespace lq::kernels
