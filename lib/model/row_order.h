#pragma once
// Where the rows of queries and keys stand: checkpoints have the two halves of a head one after the
// other, RopeStyle::adjacent wants the two rows of each rotated pair side by side.
#include <cstdint>

namespace lq {

/// The checkpoint's row that becomes row `row` of GGUF's tensor; heads have `head_dim` rows, an
/// even number.
constexpr std::uint64_t split_row_of(std::uint64_t row, std::uint64_t head_dim) {
  const auto head = row / head_dim, in_head = row % head_dim;
  return head * head_dim + in_head % 2 * (head_dim / 2) + in_head / 2;
}

/// Its inverse: the row of GGUF's tensor that was row `row` of the checkpoint.
constexpr std::uint64_t adjacent_row_of(std::uint64_t row, std::uint64_t head_dim) {
  const auto head = row / head_dim, in_head = row % head_dim;
  return head * head_dim + in_head % (head_dim / 2) * 2 + in_head / (head_dim / 2);
}

}  // namespace lq
