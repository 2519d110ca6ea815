// binary16 and bfloat16 against their definitions, for all 65536 codes.
#include "kernels/half.h"

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <limits>

#include "kernels/rounding.h"
#include "tests/support/kernel_data.h"

namespace {

using namespace lq::kernels;
using lq::test::kInfinity;
using lq::test::kNan;

/// The value of a format with these numbers of bits, from the definition in IEEE 754.
double value_of(unsigned code, int exponent_bits, int mantissa_bits) {
  const int exponent = static_cast<int>(code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = static_cast<int>(code) & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = code & 0x8000u ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1)
    return mantissa ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

/// Checks one format: `decode` of all codes, `encode` of all values, of the middles between
/// neighbours (ties: to the even code) and of the floats next to the middles.
template <class Decode, class Encode>
void check_format(int exponent_bits, int mantissa_bits, Decode decode, Encode encode) {
  const unsigned infinity = ((1u << exponent_bits) - 1) << mantissa_bits;
  for (unsigned sign : {0u, 0x8000u}) {
    for (unsigned magnitude = 0; magnitude < 0x8000u; ++magnitude) {
      const auto code = static_cast<std::uint16_t>(sign | magnitude);
      CAPTURE(code);
      const float value = decode(code);
      if (magnitude > infinity) {
        REQUIRE(std::isnan(value));
        REQUIRE(std::isnan(decode(encode(value))));
        REQUIRE((encode(value) & 0x8000u) == sign);
        continue;
      }
      REQUIRE(static_cast<double>(value) == value_of(code, exponent_bits, mantissa_bits));
      REQUIRE(std::signbit(value) == (sign != 0));
      REQUIRE(encode(value) == code);
      if (magnitude == infinity) continue;
      // The one beyond the largest finite value is where the next binade would begin.
      const auto next = static_cast<std::uint16_t>(code + 1);
      const double beyond = magnitude + 1 == infinity
                                ? std::copysign(std::ldexp(1, 1 << (exponent_bits - 1)), value)
                                : value_of(next, exponent_bits, mantissa_bits);
      const double exact = (static_cast<double>(value) + beyond) / 2;
      const auto middle = static_cast<float>(exact);
      if (static_cast<double>(middle) != exact) continue;  // below what binary32 can express
      const float away = sign ? -kInfinity : kInfinity;
      REQUIRE(encode(middle) == (code % 2 == 0 ? code : next));
      REQUIRE(encode(std::nextafterf(middle, 0.0f)) == code);
      REQUIRE(encode(std::nextafterf(middle, away)) == next);
    }
  }
}

}  // namespace

TEST_CASE("binary16 follows IEEE 754 for every code and every rounding edge") {
  check_format(5, 10, half_to_float, float_to_half);
  CHECK(float_to_half(65519.996f) == 0x7bff);
  CHECK(float_to_half(65520.0f) == 0x7c00);
  CHECK(float_to_half(std::numeric_limits<float>::max()) == 0x7c00);
  CHECK(float_to_half(-kInfinity) == 0xfc00);
  CHECK(float_to_half(kNan) == 0x7e00);
  CHECK(float_to_half(std::ldexp(1.0f, -25)) == 0);  // a tie with zero
  CHECK(float_to_half(std::numeric_limits<float>::denorm_min()) == 0);
}

TEST_CASE("bfloat16 is the rounded upper half of binary32 for every code and every edge") {
  check_format(8, 7, bfloat_to_float, float_to_bfloat);
  CHECK(float_to_bfloat(std::numeric_limits<float>::max()) == 0x7f80);
  CHECK(float_to_bfloat(bits_float(0x7f800001u)) == 0x7fc0);  // the payload is in the lower half
}

TEST_CASE("finite values are told from infinities and NaN") {
  for (unsigned i = 0; i < 0x10000u; ++i) {
    const auto code = static_cast<std::uint16_t>(i);
    REQUIRE(half_is_finite(code) == std::isfinite(value_of(i, 5, 10)));
    REQUIRE(bfloat_is_finite(code) == std::isfinite(value_of(i, 8, 7)));
  }
  CHECK(float_is_finite(std::numeric_limits<float>::max()));
  CHECK(!float_is_finite(kInfinity));
  CHECK(!float_is_finite(-kNan));
}

TEST_CASE("rounding agrees with the C library where that is defined") {
  for (int i = -2000000; i <= 2000000; ++i) {
    const float x = static_cast<float>(i) / 8;
    REQUIRE(round_even(x) == static_cast<int>(std::nearbyint(x)));
    REQUIRE(round_away(x) == std::lround(x));
    REQUIRE(truncate_int32(x) == static_cast<int>(x));
  }
  for (const float x : {0.49999997f, 8388607.5f, 4194303.0f, 2147483520.0f, 1e-45f}) {
    REQUIRE(round_away(x) == std::lround(x));
    REQUIRE(round_away(-x) == std::lround(-x));
  }
}

TEST_CASE("rounding is defined beyond the range of the result") {
  for (const float x : {kNan, kInfinity, -kInfinity, 2147483648.0f, -2147483648.0f, 1e30f}) {
    CHECK(truncate_int32(x) == std::numeric_limits<int>::min());
    CHECK(round_away(x) == std::numeric_limits<int>::min());
    CHECK(truncate_int8(x) == 0);
    CHECK(round_even(x) >= -4194304);
    CHECK(round_even(x) <= 4194303);
  }
  CHECK(truncate_int8(127.9f) == 127);
  CHECK(truncate_int8(128.5f) == -128);
  CHECK(truncate_int8(-129.0f) == 127);
  CHECK(truncate_int8(511.0f) == -1);
}
