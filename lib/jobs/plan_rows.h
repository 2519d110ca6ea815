#pragma once
// Makes the rows of planned tensors: read, convert to binary32, encode, check, measure.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "lib/jobs/plan_pieces.h"

namespace lq {

/// A thread's tools and memory for one piece.
struct Scratch {
  const kernels::KernelTable& kernels;
  std::vector<float> row, read_back;
  std::vector<std::byte> stored, encoded;  ///< read from the source; to be written
};

/// Reads `part` of the tensor's source into scratch.stored and returns it.
std::span<const std::byte> read_part(const PlannedTensor& tensor, std::uint64_t offset,
                                     std::uint64_t n_bytes, Scratch& scratch);

/// Throws Error(input) that names the tensor and the element when `bytes`, part of the copy
/// `piece`, hold values or scales that are not finite.
void check_copy(const PlannedTensor& tensor, const Piece& piece, std::span<const std::byte> bytes);

/// Encodes the rows of a piece into scratch.encoded and returns them. `error`, when not null, gets
/// the differences to the source. Throws Error(input) for values that are not finite or that the
/// type cannot hold.
std::span<const std::byte> make_rows(const PlannedTensor& tensor, const Piece& piece,
                                     Scratch& scratch, EncodingError* error);

}  // namespace lq
