#pragma once
// Floats of 8 and 4 bits as Hugging Face checkpoints hold them, and rounding to the type that a
// package computes in.
#include <cstdint>

#include "kernels/rounding.h"

namespace lq::kernels {

/// The type that every step of a computation is rounded to, and the one that scales are held in.
struct RoundToF32 {
  static constexpr float kEpsilon = 0x1p-23f;
  static float round(float x) { return x; }
  static float hold(float scale) { return scale; }
};
struct RoundToF16 {
  static constexpr float kEpsilon = 0x1p-10f;
  static float round(float x) { return half_to_float(float_to_half(x)); }
  static float hold(float scale) { return round(scale); }
};
struct RoundToBF16 {
  static constexpr float kEpsilon = 0x1p-7f;
  /// As float_to_bfloat, for what is or is not a number.
  static float round(float x) {
    const std::uint32_t bits = float_bits(x);
    return bits_float((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
  }
  static float hold(float scale) { return round(scale); }
};
/// Computes in binary32; only the scales have the type of Held.
template <class Held>
struct HoldScalesAs {
  static constexpr float kEpsilon = Held::kEpsilon;
  static float round(float x) { return x; }
  static float hold(float scale) { return Held::round(scale); }
};

inline constexpr float kMostE4M3 = 448, kMostE5M2 = 57344, kMostFp4 = 6;

/// `x` within [-most, most].
LQ_HD float clamp_magnitude(float x, float most) {
  const float low = x > -most ? x : -most;
  return low < most ? low : most;
}

/// Integer nearest to x, ties to even, for |x| < 2^22: exact, and one addition.
LQ_HD float round_even_float(float x) { return (x + 12582912.0f) - 12582912.0f; }

/// The code of x, which the format can hold: nearest, ties to even; -0 is kept.
template <int kMantissaBits, int kBias>
LQ_HD std::uint8_t float_to_float8(float x) {
  constexpr int kShift = 23 - kMantissaBits;
  constexpr std::uint32_t kLeastNormal = static_cast<std::uint32_t>(128 - kBias) << 23;
  constexpr float kSteps = 1 << (kMantissaBits + kBias - 1);  // to one, below the least normal
  const std::uint32_t bits = float_bits(x), magnitude = bits & 0x7fffffffu;
  const std::uint32_t half = (1u << (kShift - 1)) - 1 + ((magnitude >> kShift) & 1u);
  const std::uint32_t normal =
      (magnitude + half - (static_cast<std::uint32_t>(127 - kBias) << 23)) >> kShift;
  const bool is_small = magnitude < kLeastNormal;
  const float steps = round_even_float(bits_float(is_small ? magnitude : 0) * kSteps);
  const std::uint32_t code =
      is_small ? static_cast<std::uint32_t>(static_cast<std::int32_t>(steps)) : normal;
  return static_cast<std::uint8_t>((bits >> 24 & 0x80u) | code);
}

/// E4M3 without infinities ("FN") of |x| <= 448.
LQ_HD std::uint8_t float_to_e4m3(float x) { return float_to_float8<3, 7>(x); }
/// E5M2 of |x| <= 57344.
LQ_HD std::uint8_t float_to_e5m2(float x) { return float_to_float8<2, 15>(x); }

/// 0x7f and 0xff are not numbers and read as 480.
LQ_HD float e4m3_to_float(std::uint8_t code) {
  const std::uint32_t exponent = (code >> 3) & 15, mantissa = code & 7;
  const std::uint32_t whole = exponent > 0 ? mantissa + 8 : mantissa;
  const std::uint32_t power = exponent > 0 ? exponent : 1;
  const float value = static_cast<float>(whole) * bits_float((power + 117) << 23);
  return code & 0x80 ? -value : value;
}

/// E2M1 of |x| <= 6: nearest, ties to the even code; a negative value that rounds to 0 keeps its
/// sign (code 8).
LQ_HD std::int32_t float_to_fp4(float x) {
  const float a = fabsf(x);
  // Steps of 0.5 up to 2, of 1 up to 4, of 2 up to 6: codes 0..4, 4..6, 6..7.
  const float small = round_even_float(a * 2), middle = round_even_float(a) + 2;
  const float large = round_even_float(a * 0.5f) + 4;
  const float code = a < 2 ? small : a < 4 ? middle : large;
  return (static_cast<std::int32_t>(float_bits(x) >> 28) & 8) | static_cast<std::int32_t>(code);
}

LQ_HD constexpr float fp4_to_float(std::uint32_t code) {
  const std::uint32_t magnitude = code & 7;
  const float small = static_cast<float>(magnitude) * 0.5f;
  const float value = magnitude < 5 ? small : magnitude == 5 ? 3.0f : magnitude == 6 ? 4.0f : 6.0f;
  return code & 8 ? -value : value;
}

}  // namespace lq::kernels
