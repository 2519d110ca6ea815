#pragma once
// Attention of few query rows, as in generation: every stored key and value is read once for all of
// them, up to four rows share it in registers. A lane is a dimension of a head.
#include <type_traits>

#include "kernels/cpu/ops/attention_codes.h"

namespace lq::kernels {
namespace {

/// The scores of n positions. Meanwhile their values are asked for, in `ahead`.
template <class V, int kRows, class Block>
inline void score_rows(const AttentionArgs& a, const RowState& state, const std::byte* const* rows,
                       const std::byte* const* ahead, int n, RowGroup<kRows>& group) {
  constexpr int kWidth = RowGroup<kRows>::kWidth, kPositions = RowGroup<kRows>::kPositions;
  for (int j = 0; j < n; j += kPositions) {
    const Block* key[kPositions];
    const std::byte* next[kPositions];
    for (int i = 0; i < kPositions; ++i) {
      const int at = j + i < n ? j + i : n - 1;
      key[i] = reinterpret_cast<const Block*>(rows[at]);
      next[i] = ahead[at];
    }
    typename V::Value sum[8];
    for (auto& s : sum) s = V::zero();
    for (int d = 0; d < a.head_dim; d += V::kLanes) {
      typename V::Value k[kPositions];
      for (int i = 0; i < kPositions; ++i) {
        k[i] = load_values<V>(key[i], d);
        __builtin_prefetch(next[i] + stored_offset<Block>(d));
      }
      for (int q = 0; q < kRows; ++q) {
        auto query = V::load(state.queries + q * a.head_dim + d);
        asm("" : "+v"(query));  // or each product would load it again
        for (int i = 0; i < kPositions; ++i)
          sum[i * kWidth + q] = V::multiply_add(query, k[i], sum[i * kWidth + q]);
      }
    }
    Floats8::store(group.weight + j * kWidth, V::sums_of_8(sum));
  }
}

/// mixed[q][d ..] = keep[q] * mixed[q][d ..] + weights * values, kVectors registers of each row;
/// meanwhile the same columns of the rows `ahead` are asked for.
template <class V, int kRows, int kVectors, class Block>
inline void mix_rows(const AttentionArgs& a, const RowState& state, const std::byte* const* rows,
                     const std::byte* const* ahead, int n, int d, const RowGroup<kRows>& group) {
  constexpr int kWidth = RowGroup<kRows>::kWidth;
  typename V::Value sum[kRows][kVectors];
  for (int q = 0; q < kRows; ++q)
    for (int i = 0; i < kVectors; ++i)
      sum[q][i] =
          V::load(state.mixed + q * a.value_dim + d + i * V::kLanes) * V::all(group.keep[q]);
  const float* weights = group.weight;
  for (int j = 0; j < n; ++j, weights += kWidth) {
    const auto* row = reinterpret_cast<const Block*>(rows[j]);
    __builtin_prefetch(ahead[j] + stored_offset<Block>(d));
    typename V::Value value[kVectors];
    for (int i = 0; i < kVectors; ++i) value[i] = load_values<V>(row, d + i * V::kLanes);
    for (int q = 0; q < kRows; ++q) {
      const auto weight = V::all(weights[q]);
      for (int i = 0; i < kVectors; ++i) sum[q][i] = V::multiply_add(weight, value[i], sum[q][i]);
    }
  }
  for (int q = 0; q < kRows; ++q)
    for (int i = 0; i < kVectors; ++i)
      V::store(state.mixed + q * a.value_dim + d + i * V::kLanes, sum[q][i]);
}

/// A block of n positions from `first` on; `ahead`: keys of the next.
template <class V, int kRows, class Block>
inline void attend_block(const AttentionArgs& a, const RowState& state, int first, int n,
                         const std::byte* const* keys, const std::byte* const* values,
                         const std::byte* const* ahead) {
  RowGroup<kRows> group;
  if constexpr (std::is_same_v<Block, BlockQ8_0>) {
    score_codes<kRows>(a, state, keys, values, n, group);
    weigh_rows<kRows>(state, first, n, group);
    mix_codes<kRows>(a, state, values, ahead, n, group);
    return;
  }
  score_rows<V, kRows, Block>(a, state, keys, values, n, group);
  weigh_rows<kRows>(state, first, n, group);
  constexpr int kVectors = 8 / RowGroup<kRows>::kWidth;
  int d = 0;
  for (; d + kVectors * V::kLanes <= a.value_dim; d += kVectors * V::kLanes)
    mix_rows<V, kRows, kVectors, Block>(a, state, values, ahead, n, d, group);
  for (; d < a.value_dim; d += V::kLanes)
    mix_rows<V, kRows, 1, Block>(a, state, values, ahead, n, d, group);
}

/// Rows of a call, four at a time.
template <class V, class Block>
struct AttentionRows {
  static constexpr int kMost = 16;  ///< rows; from there on tiles are faster
  static constexpr int kStateFloats = 32;
  const AttentionArgs& a;
  int n_rows;
  int block;  ///< positions at a time
  float *queries, *mixed, *state;
  std::int16_t* codes;  ///< of the queries

  explicit AttentionRows(const AttentionArgs& args)
      : a(args), n_rows(args.n_tokens * args.group), block(block_of(args.key_row)) {
    queries = aligned_scratch(a);
    mixed = queries + n_rows * a.head_dim;
    state = mixed + n_rows * a.value_dim;
    codes = reinterpret_cast<std::int16_t*>(state + (n_rows + 3) / 4 * kStateFloats);
    for (int r = 0; r < n_rows; ++r) {
      const float* query = a.query + static_cast<std::size_t>(r / a.group) * a.query_stride +
                           static_cast<std::ptrdiff_t>(r % a.group) * a.head_dim;
      for (int d = 0; d < a.head_dim; ++d)
        queries[r * a.head_dim + d] = query[d] * (a.scale * kLog2E);
    }
    for (int i = 0; i < n_rows * a.value_dim; ++i) mixed[i] = 0;
    for (int r = 0; r < n_rows; r += 4) {
      const RowState s = state_of(r);
      for (int l = 0; l < 8; ++l) {
        const int seen = seen_by(r + l % width_of(r));
        s.seen[l] = static_cast<float>(seen < a.end ? seen : a.end);
        s.peaks[l] = kNoScore;
        s.totals[l] = 0;
      }
      if constexpr (std::is_same_v<Block, BlockQ8_0>) encode_queries(s, r);
    }
  }

  void encode_queries(const RowState& s, int r) const {
    for (int q = 0; q < 4 && r + q < n_rows; ++q) {
      float factor;
      encode_query(s.queries + q * a.head_dim, a.head_dim, s.codes + q * a.head_dim, factor);
      for (int l = q; l < 8; l += width_of(r)) s.factors[l] = factor;
    }
    if (n_rows - r == 3) s.factors[3] = s.factors[7] = 0;
  }
  /// Keys, values and the next keys are in the first cache together.
  static int block_of(std::size_t key_row) {
    constexpr std::size_t kBytes = 4096, kLeast = 16, kMultiple = 8;
    const std::size_t n = kBytes / key_row / kMultiple * kMultiple;
    return static_cast<int>(n < kLeast ? kLeast : n < kAttentionBlock ? n : kAttentionBlock);
  }
  /// Of the rows that share registers from row r on.
  int width_of(int r) const { return n_rows - r >= 3 ? 4 : n_rows - r; }
  /// Of the block that begins at `first`.
  int size(int first, int end) const { return end - first < block ? end - first : block; }
  int seen_by(int r) const {
    return a.first_position + (r < n_rows ? r : n_rows - 1) / a.group + 1;
  }
  RowState state_of(int r) const {
    float* lanes = state + r / 4 * kStateFloats;
    return {
        queries + r * a.head_dim, mixed + r * a.value_dim, lanes, lanes + 8, lanes + 16, lanes + 24,
        codes + r * a.head_dim};
  }

  void run() const {
    const int seen = seen_by(n_rows - 1);
    const int end = seen < a.end ? seen : a.end;
    const std::byte *rows[2][kAttentionBlock], *values[kAttentionBlock + 1];
    const std::byte **keys = rows[0], **ahead = rows[1];
    if (a.begin < end)
      find_rows(a, a.keys, a.key_page, a.key_row, a.begin, size(a.begin, end), keys);
    for (int first = a.begin; first < end; first += block) {
      const int n = size(first, end), next = first + n;
      find_rows(a, a.values, a.value_page, a.value_row, first, n, values);
      values[n] = values[n - 1];                       // of a pair, with the weight 0
      for (int j = 0; j < n; ++j) ahead[j] = keys[j];  // nothing to ask for behind the end
      find_rows(a, a.keys, a.key_page, a.key_row, next, size(next, end), ahead);
      for (int r = 0; r < n_rows; r += 4) {
        const RowState s = state_of(r);
        const int left = n_rows - r;
        left >= 4   ? attend_block<V, 4, Block>(a, s, first, n, keys, values, ahead)
        : left == 3 ? attend_block<V, 3, Block>(a, s, first, n, keys, values, ahead)
        : left == 2 ? attend_block<V, 2, Block>(a, s, first, n, keys, values, ahead)
                    : attend_block<V, 1, Block>(a, s, first, n, keys, values, ahead);
      }
      const std::byte** const done = keys;
      keys = ahead;
      ahead = done;
    }
    for (int r = 0; r < n_rows; ++r) store_row(r);
  }

  void store_row(int r) const {
    const RowState s = state_of(r / 4 * 4);
    const int lane = r % 4, width = width_of(r / 4 * 4);
    float total = 0;
    for (int l = lane; l < 8; l += width) total += s.totals[l];
    const float scale = a.peaks ? 1.0f : 1.0f / total;
    float* out = a.out + static_cast<std::size_t>(r / a.group) * a.out_stride +
                 static_cast<std::ptrdiff_t>(r % a.group) * a.value_dim;
    for (int d = 0; d < a.value_dim; ++d) out[d] = mixed[r * a.value_dim + d] * scale;
    if (!a.peaks) return;
    a.peaks[r] = s.peaks[lane];
    a.totals[r] = total;
  }
};

}  // namespace
}  // namespace lq::kernels
