#pragma once
// Where the integers of a matrix lie in the tensors of each layout. Codes have a sign in memory;
// layouts whose codes have none add 2^(bits - 1) to codes and zero points.
#include <cstdint>
#include <vector>

#include "lib/jobs/linear_encoder.h"

namespace lq {

/// Columns that share a scale.
std::size_t group_of(const WeightScheme& scheme, const Linear& linear);

/// Whether the layout stores columns of the matrix one after the other.
bool integers_by_columns(const WeightScheme& scheme);

/// The tensors of a matrix of integers, in the order in which the functions below expect them.
std::vector<LinearPart> integer_parts(const WeightScheme& scheme, const Linear& linear);

/// Why the layout cannot hold integers of this shape; empty when it can.
std::string integers_refused(const WeightScheme& scheme, const Linear& linear);

/// Rows of a matrix: those from `first` on, in memory that begins with row `origin`.
struct IntegerPlace {
  const WeightScheme& scheme;
  const Linear& linear;
  const kernels::GroupKernels& kernels;
  std::uint64_t first, origin;
};

void store_integers(const IntegerPlace& place, const IntegerRows& from, LinearBytes& parts);

/// The stored bytes of a matrix's parts.
using PartBytes = std::span<const std::span<const std::byte>>;
std::vector<std::span<const std::byte>> views_of(const LinearBytes& parts);

/// Reads into.n_rows rows back.
void load_integers(const IntegerPlace& place, PartBytes parts, IntegerRows& into);

}  // namespace lq
