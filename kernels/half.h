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

/// Exact. Without branches, so that loops over it become vector code.
LQ_HD float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  // Subnormal: an integer times 2^-24, exact in binary32.
  const auto subnormal =
      static_cast<float>(static_cast<std::int32_t>(magnitude)) * bits_float(0x33800000u);
  const std::uint32_t normal = (magnitude << 13) + (112u << 23);
  const std::uint32_t special = (magnitude << 13) | 0x7f800000u;  // infinity, NaN
  const std::uint32_t large = magnitude >= 0x7c00u ? special : normal;
  return bits_float(sign | (magnitude < 0x400u ? float_bits(subnormal) : large));
}

/// Round to nearest even; overflow gives infinity, NaN gives a quiet NaN of the same sign. Without
/// branches, so that loops over it become vector code.
LQ_HD std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = float_bits(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const auto magnitude = static_cast<std::int32_t>(bits & 0x7fffffffu);
  // Normal: rebias, round the 13 bits that go. Overflow carries into the exponent; cut there.
  const std::int32_t rounded = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  const std::int32_t normal = rounded < 0x7c00 ? rounded : 0x7c00;
  // Subnormal: next to 0.5 a binary32 has steps of 2^-24, as binary16 has there; the sum rounds.
  const float small =
      bits_float(static_cast<std::uint32_t>(magnitude < 0x38800000 ? magnitude : 0));
  const auto subnormal = static_cast<std::int32_t>(float_bits(small + 0.5f)) - 0x3f000000;
  const std::int32_t number = magnitude < 0x38800000 ? subnormal : normal;
  const std::int32_t half = magnitude > 0x7f800000 ? 0x7e00 : number;
  return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(half));
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
