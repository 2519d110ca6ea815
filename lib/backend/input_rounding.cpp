#include "lib/backend/input_rounding.h"

#include <algorithm>
#include <cmath>

#include "kernels/small_floats.h"

namespace lq {
namespace {

using kernels::GroupKernels;

constexpr std::size_t kFp8Group = 128, kMxGroup = 32, kFp4Group = 16;

/// `scale` 0: that of the largest magnitude.
void round_integers(const GroupKernels& kernels, const float* x, std::size_t n, float scale,
                    std::uint8_t* memory, float* y) {
  constexpr kernels::IntegerGrid kGrid{.bits = 8, .symmetric = true, .peak = 127.5f};
  auto* codes = reinterpret_cast<std::int8_t*>(memory);
  if (scale > 0) {
    const kernels::GroupFit fit{.scale = scale,
                                .zero = 0,
                                .low = kernels::lowest_code(kGrid),
                                .high = kernels::highest_code(kGrid)};
    kernels.codes(x, n, fit, codes);
  } else {
    kernels.integers(x, n, n, kGrid, &scale, nullptr, codes);
  }
  for (std::size_t i = 0; i < n; ++i) y[i] = static_cast<float>(codes[i]) * scale;
}

/// `scale` 0: that of the largest magnitude.
void round_e4m3(const GroupKernels& kernels, const float* x, std::size_t n, float scale,
                std::uint8_t* codes, float* y) {
  if (scale == 0) scale = kernels.e4m3_scale(kernels.largest_magnitude(x, n));
  kernels.e4m3(x, n, scale, codes);
  for (std::size_t i = 0; i < n; ++i) y[i] = kernels::e4m3_to_float(codes[i]) * scale;
}

void round_mxfp8(const GroupKernels& kernels, const float* x, std::size_t n,
                 RoundingScratch& scratch, float* y) {
  kernels.mxfp8(x, n, scratch.scales.data(), scratch.codes.data());
  for (std::size_t i = 0; i < n; ++i)
    y[i] = std::ldexp(kernels::e4m3_to_float(scratch.codes[i]), scratch.scales[i / kMxGroup] - 127);
}

void round_fp4(const GroupKernels& kernels, const float* x, std::size_t n, float divisor,
               RoundingScratch& scratch, float* y) {
  if (divisor == 0) divisor = kernels.nvfp4_factor(kernels.largest_magnitude(x, n));
  kernels.nvfp4(x, n, divisor, scratch.scales.data(), scratch.codes.data());
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t code = (scratch.codes[i / 2] >> (i % 2 * 4)) & 15u;
    y[i] = kernels::fp4_to_float(code) *
           (kernels::e4m3_to_float(scratch.scales[i / kFp4Group]) / divisor);
  }
}

}  // namespace

void RoundingScratch::reserve(std::size_t n) {
  if (codes.size() < n) codes.resize(n);
  if (scales.size() < n / kFp4Group + 1) scales.resize(n / kFp4Group + 1);
}

void round_input(const kernels::KernelTable& table, const ActivationRounding& rounding,
                 const float* x, std::size_t n, RoundingScratch& scratch, float* y) {
  const GroupKernels& kernels = table.groups[static_cast<int>(kernels::Precision::f32)];
  std::uint8_t* const codes = scratch.codes.data();
  if (!rounding || !table.all_finite(x, n)) {
    if (x != y) std::copy(x, x + n, y);
    return;
  }
  switch (rounding.scheme) {
    case ActivationScheme::none:
      break;
    case ActivationScheme::int8_token:
      return round_integers(kernels, x, n, rounding.scale, codes, y);
    case ActivationScheme::fp8_tensor:
    case ActivationScheme::fp8_token:
      return round_e4m3(kernels, x, n, rounding.scale, codes, y);
    case ActivationScheme::fp8_group:
      for (std::size_t at = 0; at < n; at += kFp8Group)
        round_e4m3(kernels, x + at, std::min(kFp8Group, n - at), 0, codes, y + at);
      return;
    case ActivationScheme::mxfp8_group:
      return round_mxfp8(kernels, x, n, scratch, y);
    case ActivationScheme::fp4_group:
      return round_fp4(kernels, x, n, rounding.scale, scratch, y);
  }
}

}  // namespace lq
