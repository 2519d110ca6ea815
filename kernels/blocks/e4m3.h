#pragma once
// E4M3_32 and E4M3_128: 8-bit floats of checkpoints for GPUs, under a scale for 32 or 128 values.
// In memory only: GGUF has no such types.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/small_floats.h"

namespace lq::kernels {

template <int N>
struct [[gnu::packed]] BlockE4M3 {
  static constexpr int kValues = N;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::e4m3, .group = N};
  static float code_value(std::uint8_t code) { return e4m3_to_float(code); }
  float scale;           ///< value[i] = e4m3_to_float(code[i]) * scale
  std::uint8_t code[N];  ///< 0x7f and 0xff are not numbers, and read as 480
};
using BlockE4M3_32 = BlockE4M3<32>;
using BlockE4M3_128 = BlockE4M3<128>;

template <int N>
LQ_HD void decode(const BlockE4M3<N>& b, float* out) {
  for (int i = 0; i < N; ++i) out[i] = e4m3_to_float(b.code[i]) * b.scale;
}

/// Importance is unused: rounding to the scale of the largest magnitude leaves no choice.
template <int N>
LQ_HD void encode(const float* x, const Importance&, BlockE4M3<N>& b) {
  float peak = 0;
  for (int i = 0; i < N; ++i) peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
  const float scale = peak / kMostE4M3;
  const float inverse = scale > 0 ? 1 / scale : 0;
  b.scale = scale;
  for (int i = 0; i < N; ++i) b.code[i] = float_to_e4m3(clamp_magnitude(x[i] * inverse, kMostE4M3));
}

template <int N>
LQ_HD void take_scales(const BlockE4M3<N>& b, float* scale) {
  *scale = b.scale;
}
template <int N>
LQ_HD void take_codes(const BlockE4M3<N>& b, std::uint8_t* code) {
  for (int i = 0; i < N; ++i) code[i] = b.code[i];
}

template <int N>
LQ_HD bool valid(const BlockE4M3<N>& b) {
  bool finite = true;
  for (int i = 0; i < N; ++i)
    finite = finite && float_is_finite(e4m3_to_float(b.code[i]) * b.scale);
  return finite;
}

}  // namespace lq::kernels
