#pragma once
// Attention as it is defined, for any stored type: one query row after the other.
#include <float.h>
#include <math.h>

#include "kernels/blocks/all_blocks.h"
#include "kernels/cpu/kernel_table.h"

namespace lq::kernels {
namespace {

/// The stored row of position p of a pool.
inline const std::byte* row_at(const AttentionArgs& a, const std::byte* pool,
                               std::size_t page_bytes, std::size_t row_bytes, int p) {
  return pool + static_cast<std::size_t>(a.page_table[p / a.page_tokens]) * page_bytes +
         static_cast<std::size_t>(p % a.page_tokens) * row_bytes;
}

/// Sum of a[i] * b[i] over the n values of a stored row, in 8 interleaved sums.
template <class Block>
float dot_stored(const float* a, const std::byte* stored, int n) {
  const auto* block = reinterpret_cast<const Block*>(stored);
  float lane[8] = {}, b[Block::kValues];
  for (int i = 0; i < n; i += Block::kValues) {
    decode(*block++, b);
    for (int j = 0; j < Block::kValues; ++j) lane[(i + j) % 8] += a[i + j] * b[j];
  }
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/// out[i] += weight * value of a stored row.
template <class Block>
void add_stored(float weight, const std::byte* stored, int n, float* out) {
  const auto* block = reinterpret_cast<const Block*>(stored);
  float b[Block::kValues];
  for (int i = 0; i < n; i += Block::kValues) {
    decode(*block++, b);
    for (int j = 0; j < Block::kValues; ++j) out[i + j] += weight * b[j];
  }
}

/// One query row, kAttentionBlock positions at a time: when a larger score comes, what was summed
/// is scaled down.
template <class Block>
void attend_row(const AttentionArgs& a, int row, const float* query, float* out) {
  float score[kAttentionBlock];
  float peak = -FLT_MAX, total = 0;
  for (int i = 0; i < a.value_dim; ++i) out[i] = 0;
  const int seen = a.first_position + row / a.group + 1;
  const int end = seen < a.end ? seen : a.end;
  for (int first = a.begin; first < end; first += kAttentionBlock) {
    const int n = end - first < kAttentionBlock ? end - first : kAttentionBlock;
    const float old_peak = peak;
    for (int j = 0; j < n; ++j) {
      const std::byte* key = row_at(a, a.keys, a.key_page, a.key_row, first + j);
      score[j] = dot_stored<Block>(query, key, a.head_dim) * (a.scale * 1.44269504f);
      peak = score[j] > peak ? score[j] : peak;
    }
    const float shrink = exp2f(old_peak - peak);
    total *= shrink;
    for (int i = 0; i < a.value_dim; ++i) out[i] *= shrink;
    for (int j = 0; j < n; ++j) {
      const float weight = exp2f(score[j] - peak);
      total += weight;
      add_stored<Block>(weight, row_at(a, a.values, a.value_page, a.value_row, first + j),
                        a.value_dim, out);
    }
  }
  if (a.peaks) {
    a.peaks[row] = peak;
    a.totals[row] = total;
    return;
  }
  const float inverse = 1.0f / total;
  for (int i = 0; i < a.value_dim; ++i) out[i] *= inverse;
}

template <class Block>
void attention_generic(const AttentionArgs& a) noexcept {
  for (int row = 0; row < a.n_tokens * a.group; ++row) {
    const std::size_t token = static_cast<std::size_t>(row / a.group);
    attend_row<Block>(
        a, row,
        a.query + token * a.query_stride + static_cast<std::ptrdiff_t>(row % a.group) * a.head_dim,
        a.out + token * a.out_stride + static_cast<std::ptrdiff_t>(row % a.group) * a.value_dim);
  }
}

}  // namespace
}  // namespace lq::kernels
