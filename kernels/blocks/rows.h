#pragma once
// Blocks to rows: the functions of a type as traits and kernel tables hold them. Each file that
// includes this gets its own copies, compiled with its flags.
#include <cstddef>

#include "kernels/blocks/importance.h"

namespace lq::kernels {

template <class Block>
static void decode_row(const void* blocks, float* out, std::size_t n_values) noexcept {
  const auto* block = static_cast<const Block*>(blocks);
  for (std::size_t i = 0; i < n_values; i += Block::kValues) decode(*block++, out + i);
}

/// Mean of squares, summed in order in binary32 as the format's reference does.
static inline float mean_square(const float* row, std::size_t n) {
  float sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += row[i] * row[i];
  return sum / static_cast<float>(n);
}

template <class Block>
static void encode_row(const float* row, const float* importance, void* blocks,
                       std::size_t n_values) noexcept {
  auto* block = static_cast<Block*>(blocks);
  Importance hints;
  if (importance) hints.row_mean_square = mean_square(row, n_values);
  for (std::size_t i = 0; i < n_values; i += Block::kValues) {
    if (importance) hints.weight = importance + i;
    encode(row + i, hints, *block++);
  }
}

template <class Block>
static bool valid_row(const void* blocks, std::size_t n_values) noexcept {
  const auto* block = static_cast<const Block*>(blocks);
  for (std::size_t i = 0; i < n_values; i += Block::kValues)
    if (!valid(*block++)) return false;
  return true;
}

}  // namespace lq::kernels
