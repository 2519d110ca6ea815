#pragma once
// Activations rounded as the scheme of a quantized checkpoint says, emulated in binary32.
#include <cstdint>
#include <vector>

#include "kernels/blocks/activation_scheme.h"
#include "kernels/cpu/kernel_table.h"

namespace lq {

/// Memory for one row; grows and stays.
struct RoundingScratch {
  std::vector<std::uint8_t> codes, scales;
  void reserve(std::size_t n);
};

/// y[i] = code * scale for the n values of a token, which are whole groups of the scheme; y may be
/// x. Scales and codes are those of the compressed-tensors package (0.19) in binary32. Values that
/// are not all finite are left alone.
void round_input(const kernels::KernelTable& table, const ActivationRounding& rounding,
                 const float* x, std::size_t n, RoundingScratch& scratch, float* y);

}  // namespace lq
