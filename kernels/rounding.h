#pragma once
// Float to integer, defined for every input and the same on every machine: a plain cast is
// undefined outside the integer's range, and files on disk depend on what x86 makes of those cases.
#include <cmath>
#include <cstdint>

#include "kernels/half.h"

namespace lq::kernels {

LQ_HD int clamp_int(int value, int low, int high) {
  return value < low ? low : value > high ? high : value;
}

/// The same with the result as float, exact below 2^24: float minimum and maximum are single
/// instructions on every machine.
LQ_HD float clamp_float(int value, int low, int high) {
  const auto v = static_cast<float>(value), l = static_cast<float>(low);
  const auto h = static_cast<float>(high);
  const float at_least = v > l ? v : l;
  return at_least < h ? at_least : h;
}

/// Nearest integer, ties to even, for |x| <= 4194303. Beyond that (and for NaN) a value that
/// depends on the bits of x alone, within [-4194304, 4194303].
LQ_HD int round_even(float x) {
  const std::uint32_t bits = float_bits(x + 12582912.0f);  // 1.5 * 2^23: the integer is left below
  return static_cast<int>(bits & 0x7fffffu) - 0x400000;
}

/// Toward zero; INT32_MIN when the result does not fit, and for NaN.
LQ_HD std::int32_t truncate_int32(float x) {
  const bool fits = fabsf(x) < 2147483648.0f;
  const auto whole = static_cast<std::int32_t>(fits ? x : 0);
  return fits ? whole : INT32_MIN;
}

/// The low 8 bits of truncate_int32.
LQ_HD std::int8_t truncate_int8(float x) { return static_cast<std::int8_t>(truncate_int32(x)); }

/// Nearest integer, ties away from zero; INT32_MIN when the result does not fit, and for NaN.
LQ_HD std::int32_t round_away(float x) {
  const bool fits = fabsf(x) < 2147483648.0f;
  const float safe = fits ? x : 0;
  const auto whole = static_cast<std::int32_t>(safe);
  const float rest = safe - static_cast<float>(whole);  // exact
  const std::int32_t rounded = whole + (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
  return fits ? rounded : INT32_MIN;
}

}  // namespace lq::kernels
