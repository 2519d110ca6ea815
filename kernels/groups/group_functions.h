#pragma once
// The arithmetic of GroupKernels, compiled for each instruction set with its flags.
#include "kernels/groups/groups.h"
#include "kernels/small_floats.h"

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

inline ValueRange range_of(const float* x, std::size_t n) noexcept {
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
  const float scale = Round::hold(largest / most);
  return scale == 0 ? Round::kEpsilon : scale;
}

inline float clamp_to(float x, float low, float high) {
  return x < low ? low : x > high ? high : x;
}

struct GroupScale {
  float scale, zero;
};

/// What a group is rounded with.
template <class Round>
GroupScale scale_of_group(ValueRange range, const IntegerGrid& grid) {
  const float low = lowest_code(grid), high = highest_code(grid);
  if (grid.symmetric) {
    const float largest = -range.low > range.high ? -range.low : range.high;
    return {scale_for<Round>(largest, grid.peak), 0};
  }
  const float scale = Round::hold(Round::round(range.high - range.low) / (high - low));
  const float from = Round::round(low - Round::round(range.low / scale));  // 0 / 0: no zero point
  const float zero = from != from ? 0 : round_even_float(clamp_to(from, low, high));
  return {scale == 0 ? Round::kEpsilon : scale, zero};
}

template <class Round>
void integers(const float* row, std::size_t n, std::size_t group, const IntegerGrid& grid,
              float* scales, std::int8_t* zeros, std::int8_t* codes) noexcept {
  const float low = lowest_code(grid), high = highest_code(grid);
  for (std::size_t at = 0; at < n; at += group) {
    const GroupScale found = scale_of_group<Round>(range_of(row + at, group), grid);
    scales[at / group] = found.scale;
    if (!grid.symmetric) zeros[at / group] = static_cast<std::int8_t>(found.zero);
    for (std::size_t i = at; i < at + group; ++i) {
      const float code = Round::round(Round::round(row[i] / found.scale) + found.zero);
      codes[i] = static_cast<std::int8_t>(round_even_float(clamp_to(code, low, high)));
    }
  }
}

template <class Round>
float held_scale(float scale) noexcept {
  const float held = Round::hold(scale);
  return held == 0 ? Round::kEpsilon : held;
}

inline float code_of(float x, const GroupFit& fit) {
  return round_even_float(clamp_to(x / fit.scale + fit.zero, fit.low, fit.high));
}

inline void codes_of(const float* x, std::size_t n, const GroupFit& fit,
                     std::int8_t* codes) noexcept {
  for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<std::int8_t>(code_of(x[i], fit));
}

/// The sum of term(i) for i in [0, n). It is added up in lanes, so that vector code has the same
/// bits as any other.
template <class Term>
float sum_of(std::size_t n, const Term& term) {
  constexpr std::size_t kSumLanes = 16;
  float lane[kSumLanes] = {};
  std::size_t at = 0;
  for (; at + kSumLanes <= n; at += kSumLanes)
    for (std::size_t i = 0; i < kSumLanes; ++i) lane[i] += term(at + i);
  for (std::size_t i = 0; at + i < n; ++i) lane[i] += term(at + i);
  float sum = 0;
  for (const float one : lane) sum += one;
  return sum;
}

inline float squared_error(const float* x, std::size_t n, const GroupFit& fit) noexcept {
  return sum_of(n, [&](std::size_t i) {
    const float error = x[i] - (code_of(x[i], fit) - fit.zero) * fit.scale;
    return error * error;
  });
}

/// x^-0.3 of a positive x within 1e-6 of it: 2^(-0.3 log2 x). The same bits everywhere, unlike
/// those of libraries.
inline float power_minus_0_3(float x) {
  const std::uint32_t bits = float_bits(x);
  const float exponent = static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127);
  const float m = bits_float((bits & 0x7fffffu) | 0x3f800000u);  // [1, 2)
  // log2 m = 2 / ln 2 atanh u for u = (m - 1) / (m + 1) <= 1/3, moved to m in [0.7, 1.4]
  const bool large = m > 1.41421356f;
  const float half = large ? m * 0.5f : m;
  const float u = (half - 1) / (half + 1), square = u * u;
  const float log2 =
      exponent + (large ? 1.0f : 0.0f) +
      u * (2.8853901f + square * (0.96179670f + square * (0.57707802f + square * 0.41219859f)));
  const float y = log2 * -0.3f;
  const float whole = round_even_float(y), part = (y - whole) * 0.69314718f;  // |part| <= 0.35
  const float power =
      1 + part * (1 + part * (0.5f +
                              part * (0.16666667f + part * (0.041666667f + part * 0.0083333333f))));
  const auto scale = static_cast<std::uint32_t>(static_cast<std::int32_t>(whole) + 127) << 23;
  return power * bits_float(scale);
}

inline HalfQuadraticStep half_quadratic(const float* x, std::size_t n, const GroupFit& fit,
                                        float beta) noexcept {
  const float inverse = 1 / fit.scale, softness = 1 / beta;
  const auto error_of = [&](std::size_t i, float code) {
    return x[i] - (code - fit.zero) * fit.scale;
  };
  const float error =
      sum_of(n, [&](std::size_t i) { return fabsf(error_of(i, code_of(x[i], fit))); });
  const float zeros = sum_of(n, [&](std::size_t i) {
    const float code = code_of(x[i], fit), e = error_of(i, code), magnitude = fabsf(e);
    const float less =
        magnitude - power_minus_0_3(magnitude > 0x1p-100f ? magnitude : 0x1p-100f) * softness;
    const float kept = less > 0 ? less : 0;  // of the error, what is an outlier's
    return code - (x[i] - (e < 0 ? -kept : kept)) * inverse;
  });
  return {zeros / static_cast<float>(n), error};
}

inline ScaleSums scale_sums(const float* x, std::size_t n, const GroupFit& fit) noexcept {
  return {sum_of(n, [&](std::size_t i) { return x[i] * (code_of(x[i], fit) - fit.zero); }),
          sum_of(n, [&](std::size_t i) {
            const float steps = code_of(x[i], fit) - fit.zero;
            return steps * steps;
          })};
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
float e5m2_scale(float largest) noexcept {
  return scale_for<Round>(largest, kMostE5M2);
}

template <class Round>
void e5m2(const float* row, std::size_t n, float scale, std::uint8_t* codes) noexcept {
  for (std::size_t i = 0; i < n; ++i)
    codes[i] = float_to_e5m2(clamp_magnitude(Round::round(row[i] / scale), kMostE5M2));
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

inline void pack(const std::int8_t* codes, std::size_t n, int bits, void* words) noexcept {
  pack_codes(codes, n, 1, bits, words);
}
inline void unpack(const void* words, std::size_t n, int bits, std::int8_t* codes) noexcept {
  unpack_codes(words, n, 1, bits, codes);
}

template <class Round>
constexpr GroupKernels kGroupKernels = {largest_magnitude,
                                        integers<Round>,
                                        range_of,
                                        held_scale<Round>,
                                        codes_of,
                                        squared_error,
                                        half_quadratic,
                                        scale_sums,
                                        e4m3_scale<Round>,
                                        e4m3<Round>,
                                        e5m2_scale<Round>,
                                        e5m2<Round>,
                                        nvfp4_factor<Round>,
                                        nvfp4<Round>,
                                        mxfp4<Round>,
                                        mxfp8<Round>,
                                        four_bit,
                                        eight_bit,
                                        pack,
                                        unpack};

/// What `Of<Round>::kTable` is for this precision.
template <template <class Round> class Of>
consteval GroupKernels by_precision(Precision precision) {
  switch (precision) {
    case Precision::f16:
      return Of<RoundToF16>::kTable;
    case Precision::bf16:
      return Of<RoundToBF16>::kTable;
    case Precision::f32_f16:
      return Of<HoldScalesAs<RoundToF16>>::kTable;
    case Precision::f32_bf16:
      return Of<HoldScalesAs<RoundToBF16>>::kTable;
    default:
      return Of<RoundToF32>::kTable;
  }
}

template <class Round>
struct PlainGroupKernels {
  static constexpr GroupKernels kTable = kGroupKernels<Round>;
};

/// By Precision.
consteval GroupKernels group_kernels_of(Precision precision) {
  return by_precision<PlainGroupKernels>(precision);
}

}  // namespace
}  // namespace lq::kernels
