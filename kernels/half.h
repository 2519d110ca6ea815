#pragma once
// binary16 and bfloat16, converted in software: the same bits on every machine.
#include <cstdint>
#include <cstring>

#include "kernels/hd.h"

namespace lq::kernels {

LQ_HD std::uint32_t float_bits(float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

LQ_HD float bits_float(std::uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

LQ_HD bool float_is_finite(float value) { return (float_bits(value) & 0x7f800000u) != 0x7f800000u; }
LQ_HD bool half_is_finite(std::uint16_t half) { return (half & 0x7c00u) != 0x7c00u; }
LQ_HD bool bfloat_is_finite(std::uint16_t value) { return (value & 0x7f80u) != 0x7f80u; }

/// Exact.
LQ_HD float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1f) return bits_float(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return bits_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // Subnormal: mantissa * 2^-24, exact in binary32.
  const float magnitude = static_cast<float>(mantissa) * bits_float(0x33800000u);
  return bits_float(sign | float_bits(magnitude));
}

/// Round to nearest even; overflow gives infinity, NaN gives a quiet NaN of the same sign.
LQ_HD std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = float_bits(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {  // normal: rebias, round the 13 bits that go
    const std::uint32_t odd = (magnitude >> 13) & 1u;
    half = (magnitude - 0x38000000u + 0xfffu + odd) >> 13;
  } else if (magnitude >= 0x33000000u) {  // subnormal: shift the full mantissa, round
    const std::uint32_t shift = 126u - (magnitude >> 23);
    const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const std::uint32_t odd = (mantissa >> shift) & 1u;
    half = (mantissa + (1u << (shift - 1)) - 1u + odd) >> shift;
  } else {
    half = 0;
  }
  return static_cast<std::uint16_t>(sign | half);
}

/// Exact.
LQ_HD float bfloat_to_float(std::uint16_t value) {
  return bits_float(static_cast<std::uint32_t>(value) << 16);
}

/// Round to nearest even; NaN stays NaN (quiet), subnormals are kept.
LQ_HD std::uint16_t float_to_bfloat(float value) {
  const std::uint32_t bits = float_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 64u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace lq::kernels
