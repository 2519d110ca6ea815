#pragma once
// Matrices as bitsandbytes (0.50) stores them: blocks of 64 values, or rows of 8-bit integers.
#include "lib/jobs/linear_encoder.h"

namespace lq {

/// The tensors of a matrix, in the order in which the functions below expect them.
std::vector<LinearPart> bitsandbytes_parts(const WeightScheme& scheme, const Linear& linear);

/// As LinearEncoder::encode() and finish().
void encode_four_bit(const WeightScheme& scheme, const Linear& linear,
                     const kernels::GroupKernels& kernels, std::uint64_t first,
                     std::span<const float> values, std::uint64_t origin, LinearBytes& parts);
void encode_eight_bit(const Linear& linear, const kernels::GroupKernels& kernels,
                      std::uint64_t first, std::span<const float> values, std::uint64_t origin,
                      LinearBytes& parts);
void finish_four_bit(const WeightScheme& scheme, const Linear& linear, LinearBytes& parts);

/// The mean of scales that --double-quant subtracts, of all blocks' scales in their order.
float mean_scale(std::span<const float> scales);

}  // namespace lq
