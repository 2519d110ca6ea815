#pragma once
// I8_32 and I8_128: 8-bit codes of checkpoints for GPUs, under a scale for 32 or 128 values. In
// memory only: GGUF has no such types.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/rounding.h"

namespace lq::kernels {

template <int N>
struct [[gnu::packed]] BlockI8 {
  static constexpr int kValues = N;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::int8, .group = N};
  static constexpr float code_value(std::uint8_t code) { return static_cast<std::int8_t>(code); }
  float scale;  ///< value[i] = code[i] * scale
  std::int8_t code[N];
};
using BlockI8_32 = BlockI8<32>;
using BlockI8_128 = BlockI8<128>;

template <int N>
LQ_HD void decode(const BlockI8<N>& b, float* out) {
  for (int i = 0; i < N; ++i) out[i] = static_cast<float>(b.code[i]) * b.scale;
}

/// Importance is unused: rounding to the scale of the largest magnitude leaves no choice.
template <int N>
LQ_HD void encode(const float* x, const Importance&, BlockI8<N>& b) {
  float peak = 0;
  for (int i = 0; i < N; ++i) peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
  const float scale = peak / 127;
  const float inverse = scale > 0 ? 1 / scale : 0;
  b.scale = scale;
  for (int i = 0; i < N; ++i)
    b.code[i] = static_cast<std::int8_t>(clamp_int(round_even(x[i] * inverse), -127, 127));
}

template <int N>
LQ_HD void take_scales(const BlockI8<N>& b, float* scale) {
  *scale = b.scale;
}
template <int N>
LQ_HD void take_codes(const BlockI8<N>& b, std::uint8_t* code) {
  for (int i = 0; i < N; ++i) code[i] = static_cast<std::uint8_t>(b.code[i]);
}

template <int N>
LQ_HD bool valid(const BlockI8<N>& b) {
  bool finite = true;
  for (int i = 0; i < N; ++i)
    finite = finite && float_is_finite(static_cast<float>(b.code[i]) * b.scale);
  return finite;
}

}  // namespace lq::kernels
