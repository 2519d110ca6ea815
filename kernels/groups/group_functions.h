#pragma once
// The arithmetic of GroupKernels, compiled for each instruction set with its flags.
#include "kernels/groups/groups.h"
#include "kernels/groups/small_floats.h"

namespace lq::kernels {
namespace {

// Magnitudes are compared as integers, whose maximum the compiler makes vector code of.
inline float largest_magnitude(const float* x, std::size_t n) noexcept {
  std::int32_t largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const auto magnitude = static_cast<std::int32_t>(float_bits(x[i]) & 0x7fffffffu);
    largest = magnitude > largest ? magnitude : largest;
  }
  return bits_float(static_cast<std::uint32_t>(largest));
}

struct Range {
  float low, high;
};

/// With 0.
inline Range range_of(const float* x, std::size_t n) {
  std::int32_t most_negative = 0, most_positive = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t bits = float_bits(x[i]);
    const auto positive = static_cast<std::int32_t>(bits);
    const auto negative = static_cast<std::int32_t>(bits ^ 0x80000000u);
    most_positive = positive > most_positive ? positive : most_positive;
    most_negative = negative > most_negative ? negative : most_negative;
  }
  return {-bits_float(static_cast<std::uint32_t>(most_negative)),
          bits_float(static_cast<std::uint32_t>(most_positive))};
}

/// Scale of values up to `largest` when codes go up to `most`.
template <class Round>
float scale_for(float largest, float most) {
  const float scale = Round::round(largest / most);
  return scale == 0 ? Round::kEpsilon : scale;
}

template <class Round>
void integers(const float* row, std::size_t n, std::size_t group, int bits, bool symmetric,
              float* scales, std::int8_t* zeros, std::int8_t* codes) noexcept {
  const auto low = static_cast<float>(-(1 << (bits - 1))), high = -low - 1;
  for (std::size_t at = 0; at < n; at += group) {
    const Range range = range_of(row + at, group);
    float scale, zero = 0;
    if (symmetric) {
      const float largest = -range.low > range.high ? -range.low : range.high;
      scale = scale_for<Round>(largest, (high - low) / 2);
    } else {
      scale = Round::round(Round::round(range.high - range.low) / (high - low));
      const float from =
          Round::round(low - Round::round(range.low / scale));  // 0 / 0: no zero point
      zero = from != from ? 0 : round_even_float(from < low ? low : from > high ? high : from);
      if (scale == 0) scale = Round::kEpsilon;
      zeros[at / group] = static_cast<std::int8_t>(zero);
    }
    scales[at / group] = scale;
    for (std::size_t i = at; i < at + group; ++i) {
      const float code = Round::round(Round::round(row[i] / scale) + zero);
      codes[i] = static_cast<std::int8_t>(round_even_float(code < low    ? low
                                                           : code > high ? high
                                                                         : code));
    }
  }
}

template <class Round>
float e4m3_scale(float largest) noexcept {
  return scale_for<Round>(largest, kMostE4M3);
}

template <class Round>
void e4m3(const float* row, std::size_t n, float scale, std::uint8_t* codes) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    codes[i] = float_to_e4m3(clamp_magnitude(Round::round(row[i] / scale), kMostE4M3));
}

template <class Round>
float nvfp4_factor(float largest) noexcept {
  const float bounded = largest > 0x1p-126f ? largest : 0x1p-126f;
  return Round::round(Round::round(1 / bounded) * (kMostE4M3 * kMostFp4));
}

/// Codes of n values, two a byte.
template <int n>
void store_pairs(const std::int32_t* codes, std::uint8_t* packed) {
  for (int i = 0; i < n; i += 2)
    packed[i / 2] = static_cast<std::uint8_t>(codes[i] | (codes[i + 1] << 4));
}

template <class Round>
void nvfp4(const float* row, std::size_t n, float factor, std::uint8_t* scales,
           std::uint8_t* packed) noexcept {
  for (std::size_t at = 0; at < n; at += 16) {
    const float wanted = Round::round(largest_magnitude(row + at, 16) / kMostFp4) * factor;
    std::uint8_t code = float_to_e4m3(clamp_magnitude(wanted, kMostE4M3));
    if (code == 0) code = float_to_e4m3(0.125f);
    scales[at / 16] = code;
    const float scale = e4m3_to_float(code) / factor;
    std::int32_t codes[16];
    for (std::size_t i = 0; i < 16; ++i)
      codes[i] = float_to_fp4(clamp_magnitude(row[at + i] / scale, kMostFp4));
    store_pairs<16>(codes, packed + at / 2);
  }
}

/// E8M0: the exponent of the largest magnitude, one more from a mantissa of 1.75 on, less `offset`.
std::uint8_t shared_exponent(const float* x, std::uint32_t offset) {
  const std::uint32_t rounded = (float_bits(largest_magnitude(x, 32)) + (1u << 21)) >> 23;
  const std::uint32_t code = rounded > offset ? rounded - offset : 0;
  return static_cast<std::uint8_t>(code < 255 ? code : 255);
}
/// 2^(code - 127).
float power_of(std::uint8_t code) {
  return bits_float(code > 0 ? static_cast<std::uint32_t>(code) << 23 : 1u << 22);
}

template <class Round>
void mxfp4(const float* row, std::size_t n, std::uint8_t* scales, std::uint8_t* packed) noexcept {
  for (std::size_t at = 0; at < n; at += 32) {
    scales[at / 32] = shared_exponent(row + at, 2);
    const float scale = power_of(scales[at / 32]);
    std::int32_t codes[32];
    for (std::size_t i = 0; i < 32; ++i)
      codes[i] = float_to_fp4(clamp_magnitude(Round::round(row[at + i] / scale), kMostFp4));
    store_pairs<32>(codes, packed + at / 2);
  }
}

template <class Round>
void mxfp8(const float* row, std::size_t n, std::uint8_t* scales, std::uint8_t* codes) noexcept {
  for (std::size_t at = 0; at < n; at += 32) {
    scales[at / 32] = shared_exponent(row + at, 8);
    e4m3<Round>(row + at, 32, power_of(scales[at / 32]), codes + at);
  }
}

inline void four_bit(const float* x, std::size_t n, const FourBitCode& code, float* scales,
                     std::uint8_t* packed) noexcept {
  for (std::size_t at = 0; at < n; at += 64) {
    const float largest = largest_magnitude(x + at, 64);
    const float inverse = 1 / (largest > 1e-38f ? largest : 1e-38f);
    std::int32_t below[64];
    for (std::size_t i = 0; i < 64; ++i) {
      const float value = clamp_magnitude(x[at + i] * inverse, 1);
      std::int32_t count = 0;
      for (const float threshold : code.threshold) count += threshold < value ? 1 : 0;
      below[i] = count;
    }
    scales[at / 64] = largest;
    for (std::size_t i = 0; i < 64; i += 2)
      packed[(at + i) / 2] =
          static_cast<std::uint8_t>((code.code[below[i]] << 4) | code.code[below[i + 1]]);
  }
}

inline float eight_bit(const float* row, std::size_t n, std::int8_t* codes) noexcept {
  float largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float a = fabsf(RoundToF16::round(row[i]));
    largest = a > largest ? a : largest;
  }
  const float factor = largest > 0 && float_is_finite(largest) ? 1 / largest * 127 : 0;
  for (std::size_t i = 0; i < n; ++i)
    codes[i] = static_cast<std::int8_t>(
        round_even_float(clamp_magnitude(RoundToF16::round(row[i]) * factor, 127)));
  return largest;
}

template <class Round>
constexpr GroupKernels kGroupKernels = {
    largest_magnitude, integers<Round>, e4m3_scale<Round>, e4m3<Round>, nvfp4_factor<Round>,
    nvfp4<Round>,      mxfp4<Round>,    mxfp8<Round>,      four_bit,    eight_bit};

/// By Precision.
consteval GroupKernels group_kernels_of(Precision precision) {
  switch (precision) {
    case Precision::f16:
      return kGroupKernels<RoundToF16>;
    case Precision::bf16:
      return kGroupKernels<RoundToBF16>;
    default:
      return kGroupKernels<RoundToF32>;
  }
}

}  // namespace
}  // namespace lq::kernels
