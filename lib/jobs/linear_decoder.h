#pragma once
// Reads back what LinearEncoder made, from the stored bytes alone.
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/jobs/linear_encoder.h"

namespace lq {

/// Writes rows [first, first + into.size() / cols) of a matrix to `into`; the same multiples as in
/// LinearEncoder::encode(). `parts` are all bytes of each tensor, in the order of
/// LinearEncoder::parts() and of the sizes that it says.
void decode_linear(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                   std::span<const std::span<const std::byte>> parts, std::span<float> into);

}  // namespace lq
