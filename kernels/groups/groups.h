#pragma once
// Weights as Hugging Face checkpoints store them: codes in one tensor, the scales of their groups
// in others. Rules and bits are those of the compressed-tensors package (0.19), which computes in
// the type that the model is stored in: after every step the result is rounded to it.
#include <cstddef>
#include <cstdint>

namespace lq::kernels {

enum class Precision : std::uint8_t { f32, f16, bf16 };
inline constexpr int kPrecisionCount = 3;

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
  /// Codes of `bits` (2..8) with sign, [n]; a scale and, unless symmetric, a zero point a group.
  /// `zeros` may be null when symmetric. value = (code - zero) * scale.
  void (*integers)(const float* row, std::size_t n, std::size_t group, int bits, bool symmetric,
                   float* scales, std::int8_t* zeros, std::int8_t* codes) noexcept;
  /// The scale of values up to this magnitude as E4M3.
  float (*e4m3_scale)(float largest) noexcept;
  /// E4M3 codes of row / scale, [n].
  void (*e4m3)(const float* row, std::size_t n, float scale, std::uint8_t* codes) noexcept;
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
};
/// 32-bit words that `n` codes of `bits` bits take.
constexpr std::size_t packed_words(std::size_t n, int bits) {
  return (n * static_cast<std::size_t>(bits) + 31) / 32;
}
/// Codes plus 2^(bits - 1) as one string of bits, low bit first: words[packed_words(n, bits)]. The
/// codes lie `stride` apart.
void pack_codes(const std::int8_t* codes, std::size_t n, std::size_t stride, int bits,
                std::uint32_t* words) noexcept;

}  // namespace lq::kernels
