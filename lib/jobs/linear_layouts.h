#pragma once
// Where the integers of a matrix lie in the tensors of each layout. Codes have a sign in memory;
// layouts whose codes have none add 2^(bits - 1) to codes and zero points.
#include <cstdint>
#include <vector>

#include "lib/jobs/linear_encoder.h"

namespace lq {

/// The stored bytes of a matrix's parts.
using PartBytes = std::span<const std::span<const std::byte>>;

/// Columns that share a scale.
std::size_t group_of(const WeightScheme& scheme, const Linear& linear);

/// A number that differs when a code, a zero point or a scale does.
std::uint64_t digest_of(const IntegerRows& rows);

/// The tensors of a matrix of integers, in the order in which the functions below expect them.
std::vector<LinearPart> integer_parts(const WeightScheme& scheme, const Linear& linear);

/// Why the layout cannot hold integers of this shape; empty when it can.
std::string integers_refused(const WeightScheme& scheme, const Linear& linear);

/// Stores rows [first, first + from.n_rows) of the matrix.
void store_integers(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                    const IntegerRows& from, LinearBytes& parts);

/// Reads rows [first, first + into.n_rows) back; `parts` are the stored bytes.
void load_integers(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                   PartBytes parts, IntegerRows& into);

}  // namespace lq
