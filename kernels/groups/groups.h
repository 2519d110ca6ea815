#pragma once
// Weights as Hugging Face checkpoints store them: codes in one tensor, the scales of their groups
// in others. Rules and bits of the first three precisions are those of the compressed-tensors
// package (0.19), which computes in the type that the model is stored in: after every step the
// result is rounded to it.
#include <cstddef>
#include <cstdint>

#include "kernels/hd.h"

namespace lq::kernels {

/// What is computed in; the last two compute in binary32 and hold scales in fewer bits.
enum class Precision : std::uint8_t { f32, f16, bf16, f32_f16, f32_bf16 };
inline constexpr int kPrecisionCount = 5;

/// Codes of `bits` (2..8) with sign. value = (code - zero) * scale.
struct IntegerGrid {
  int bits;
  bool symmetric;  ///< zero is 0
  float peak;      ///< symmetric: what the largest magnitude becomes before it is rounded
};
LQ_HD float lowest_code(const IntegerGrid& grid) {
  return static_cast<float>(-(1 << (grid.bits - 1)));
}
LQ_HD float highest_code(const IntegerGrid& grid) { return -lowest_code(grid) - 1; }

/// The smallest and the largest of some values and 0.
struct ValueRange {
  float low, high;
};

/// How a group of values is put on the grid.
struct GroupFit {
  float scale, zero, low, high;  ///< codes are in [low, high]
};

/// A step of HQQ (Badri, Shaji: Half-Quadratic Quantization, 2023) for a group under a zero point
/// that is no integer.
struct HalfQuadraticStep {
  float zero;   ///< the next zero point
  float error;  ///< sum of |x - value| under the one given
};

/// Sums of x (code - zero) and (code - zero)^2, whose quotient is the best scale for these codes.
struct ScaleSums {
  float product, square;
};

/// 16 values and how a number finds the nearest of them: `code[k]` where k thresholds are below it.
struct FourBitCode {
  float threshold[15];
  std::uint8_t code[16];
};

/// Arithmetic of one precision on finite values. [n] are values of one row; groups are consecutive
/// and divide n.
struct GroupKernels {
  /// The largest magnitude of n values; 0 for none.
  float (*largest_magnitude)(const float* x, std::size_t n) noexcept;
  /// Codes rounded to nearest, [n]; a scale and, unless symmetric, a zero point a group. `zeros`
  /// may be null when symmetric.
  void (*integers)(const float* row, std::size_t n, std::size_t group, const IntegerGrid& grid,
                   float* scales, std::int8_t* zeros, std::int8_t* codes) noexcept;

  // Parts of searches for better scales: n values of one group.

  ValueRange (*range)(const float* x, std::size_t n) noexcept;
  /// The scale as it is held, which is not 0.
  float (*hold)(float scale) noexcept;
  void (*codes)(const float* x, std::size_t n, const GroupFit& fit, std::int8_t* codes) noexcept;
  /// Sum of (x - value)^2.
  float (*squared_error)(const float* x, std::size_t n, const GroupFit& fit) noexcept;
  /// `beta` is the weight of the quadratic part, which grows from step to step.
  HalfQuadraticStep (*half_quadratic)(const float* x, std::size_t n, const GroupFit& fit,
                                      float beta) noexcept;
  ScaleSums (*scale_sums)(const float* x, std::size_t n, const GroupFit& fit) noexcept;

  /// The scale of values up to this magnitude as E4M3.
  float (*e4m3_scale)(float largest) noexcept;
  /// E4M3 codes of row / scale, [n].
  void (*e4m3)(const float* row, std::size_t n, float scale, std::uint8_t* codes) noexcept;
  /// The same with E5M2.
  float (*e5m2_scale)(float largest) noexcept;
  void (*e5m2)(const float* row, std::size_t n, float scale, std::uint8_t* codes) noexcept;
  /// The factor of a tensor (and of those fused with it) with values up to this magnitude.
  float (*nvfp4_factor)(float largest) noexcept;
  /// An E4M3 scale a group of 16, [n / 16]; two E2M1 codes a byte, low nibble first, [n / 2].
  void (*nvfp4)(const float* row, std::size_t n, float factor, std::uint8_t* scales,
                std::uint8_t* packed) noexcept;
  /// A power of two (E8M0) a group of 32, [n / 32]; codes as nvfp4.
  void (*mxfp4)(const float* row, std::size_t n, std::uint8_t* scales,
                std::uint8_t* packed) noexcept;
  /// The same with E4M3 codes, [n].
  void (*mxfp8)(const float* row, std::size_t n, std::uint8_t* scales,
                std::uint8_t* codes) noexcept;

  // bitsandbytes (0.50): in binary32, the same for every precision.

  /// The largest magnitude of each block of 64, [n / 64]; two codes a byte, high nibble first,
  /// [n / 2].
  void (*four_bit)(const float* x, std::size_t n, const FourBitCode& code, float* scales,
                   std::uint8_t* packed) noexcept;
  /// Codes of a row rounded to binary16 first, [n]; returns its largest magnitude then. value =
  /// code * largest / 127.
  float (*eight_bit)(const float* row, std::size_t n, std::int8_t* codes) noexcept;

  // The same for every precision: pack_codes() and unpack_codes() of codes side by side.

  void (*pack)(const std::int8_t* codes, std::size_t n, int bits, void* words) noexcept;
  void (*unpack)(const void* words, std::size_t n, int bits, std::int8_t* codes) noexcept;
};

/// 32-bit words that `n` codes of `bits` bits take.
constexpr std::size_t packed_words(std::size_t n, int bits) {
  return (n * static_cast<std::size_t>(bits) + 31) / 32;
}
/// Codes plus 2^(bits - 1) as one string of bits, low bit first: packed_words(n, bits) words of 32
/// bits, at any address. The codes lie `stride` apart.
void pack_codes(const std::int8_t* codes, std::size_t n, std::size_t stride, int bits,
                void* words) noexcept;
/// Gives back what pack_codes() packed.
void unpack_codes(const void* words, std::size_t n, std::size_t stride, int bits,
                  std::int8_t* codes) noexcept;
/// The nearest of 65536 places in [-1, 1], at which bitsandbytes looks up codes for scales.
float nested_place(float x) noexcept;

}  // namespace lq::kernels
