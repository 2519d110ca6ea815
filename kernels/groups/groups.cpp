#include "kernels/groups/groups.h"

#include "kernels/groups/small_floats.h"

namespace lq::kernels {
namespace {

struct Range {
  float low, high;
};

/// With 0.
Range range_of(const float* x, std::size_t n) {
  Range range{0, 0};
  for (std::size_t i = 0; i < n; ++i) {
    range.low = x[i] < range.low ? x[i] : range.low;
    range.high = x[i] > range.high ? x[i] : range.high;
  }
  return range;
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

template <class Round>
void nvfp4(const float* row, std::size_t n, float factor, std::uint8_t* scales,
           std::uint8_t* packed) noexcept {
  for (std::size_t at = 0; at < n; at += 16) {
    const float wanted = Round::round(largest_magnitude(row + at, 16) / kMostFp4) * factor;
    std::uint8_t code = float_to_e4m3(clamp_magnitude(wanted, kMostE4M3));
    if (code == 0) code = float_to_e4m3(0.125f);
    scales[at / 16] = code;
    const float scale = e4m3_to_float(code) / factor;
    for (std::size_t i = at; i < at + 16; i += 2)
      packed[i / 2] = static_cast<std::uint8_t>(
          float_to_fp4(clamp_magnitude(row[i] / scale, kMostFp4)) |
          (float_to_fp4(clamp_magnitude(row[i + 1] / scale, kMostFp4)) << 4));
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
    for (std::size_t i = at; i < at + 32; i += 2) {
      const float a = Round::round(row[i] / scale), b = Round::round(row[i + 1] / scale);
      packed[i / 2] = static_cast<std::uint8_t>(float_to_fp4(clamp_magnitude(a, kMostFp4)) |
                                                (float_to_fp4(clamp_magnitude(b, kMostFp4)) << 4));
    }
  }
}

template <class Round>
void mxfp8(const float* row, std::size_t n, std::uint8_t* scales, std::uint8_t* codes) noexcept {
  for (std::size_t at = 0; at < n; at += 32) {
    scales[at / 32] = shared_exponent(row + at, 8);
    e4m3<Round>(row + at, 32, power_of(scales[at / 32]), codes + at);
  }
}

template <class Round>
constexpr GroupKernels kKernels = {integers<Round>,     e4m3_scale<Round>, e4m3<Round>,
                                   nvfp4_factor<Round>, nvfp4<Round>,      mxfp4<Round>,
                                   mxfp8<Round>};

}  // namespace

const GroupKernels& group_kernels(Precision precision) noexcept {
  switch (precision) {
    case Precision::f16:
      return kKernels<RoundToF16>;
    case Precision::bf16:
      return kKernels<RoundToBF16>;
    default:
      return kKernels<RoundToF32>;
  }
}

float largest_magnitude(const float* x, std::size_t n) noexcept {
  float largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const float a = fabsf(x[i]);
    largest = a > largest ? a : largest;
  }
  return largest;
}

void pack_codes(const std::int8_t* codes, std::size_t n, std::size_t stride, int bits,
                std::uint32_t* words) noexcept {
  const int offset = 1 << (bits - 1);
  std::uint64_t pending = 0;
  int n_pending = 0;
  for (std::size_t i = 0; i < n; ++i) {
    pending |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(codes[i * stride] + offset))
               << n_pending;
    n_pending += bits;
    if (n_pending < 32) continue;
    *words++ = static_cast<std::uint32_t>(pending);
    pending >>= 32;
    n_pending -= 32;
  }
  if (n_pending > 0) *words = static_cast<std::uint32_t>(pending);
}

}  // namespace lq::kernels
