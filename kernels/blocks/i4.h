#pragma once
// I4_32 and I4_128: 4-bit codes of checkpoints for GPUs, under a scale and a zero point for 32 or
// 128 values. In memory only: GGUF has no such types.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/rounding.h"

namespace lq::kernels {

template <int N>
struct [[gnu::packed]] BlockI4 {
  static constexpr int kValues = N;
  static constexpr PanelForm kPanel{.low_bits = 4, .group = N, .zeros = true};
  float scale;        ///< value[i] = (code[i] - zero) * scale
  std::uint8_t zero;  ///< as the codes, 0..15
  std::uint8_t
      code[N / 2];  ///< code[j]: value 2 j in the low nibble, value 2 j + 1 in the high one
};
using BlockI4_32 = BlockI4<32>;
using BlockI4_128 = BlockI4<128>;

/// Code i of a block.
template <int N>
LQ_HD int code_of(const BlockI4<N>& b, int i) {
  return i % 2 == 0 ? b.code[i / 2] & 15 : b.code[i / 2] >> 4;
}

template <int N>
LQ_HD void decode(const BlockI4<N>& b, float* out) {
  for (int i = 0; i < N; ++i) out[i] = static_cast<float>(code_of(b, i) - (b.zero & 15)) * b.scale;
}

/// From the smallest to the largest value and 0, in 15 steps. Importance is unused: it leaves no
/// choice.
template <int N>
LQ_HD void encode(const float* x, const Importance&, BlockI4<N>& b) {
  float low = 0, high = 0;
  for (int i = 0; i < N; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  const float scale = high / 15 - low / 15;
  const float inverse = scale > 0 ? 1 / scale : 0;
  const int zero = clamp_int(round_even(-low * inverse), 0, 15);
  b.scale = scale;
  b.zero = static_cast<std::uint8_t>(zero);
  for (int j = 0; j < N / 2; ++j) {
    const int first = clamp_int(round_even(x[2 * j] * inverse) + zero, 0, 15);
    const int second = clamp_int(round_even(x[2 * j + 1] * inverse) + zero, 0, 15);
    b.code[j] = static_cast<std::uint8_t>(first | (second << 4));
  }
}

template <int N>
LQ_HD void take_apart(const BlockI4<N>& b, ZeroParts& out) {
  out.scale = b.scale;
  out.zero = b.zero & 15;
  for (int j = 0; j < N / 2; ++j) {
    out.code[2 * j] = b.code[j] & 15;
    out.code[2 * j + 1] = b.code[j] >> 4;
  }
}

template <int N>
LQ_HD bool valid(const BlockI4<N>& b) {
  bool finite = true;
  for (int i = 0; i < N; ++i)
    finite = finite && float_is_finite(static_cast<float>(code_of(b, i) - (b.zero & 15)) * b.scale);
  return finite;
}

}  // namespace lq::kernels
