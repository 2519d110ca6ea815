#pragma once
// What is known of few query rows while blocks of positions pass, and how scores become weights.
#include "kernels/cpu/ops/attention_cache.h"

namespace lq::kernels {
namespace {

/// Scores and weights of a block, for rows that share registers: [position][kWidth rows], so that
/// eight scores that are summed at once lie side by side.
template <int kRows>
struct RowGroup {
  static constexpr int kWidth = kRows == 3 ? 4 : kRows;
  static constexpr int kPositions = 8 / kWidth;  ///< scored at once
  float weight[kAttentionBlock * kWidth];
  float keep[kWidth];
};

/// About where value d of a stored row is.
template <class Block>
inline std::ptrdiff_t stored_offset(int d) {
  return static_cast<std::ptrdiff_t>(d) * static_cast<std::ptrdiff_t>(sizeof(Block)) /
         Block::kValues;
}

/// Rows [first_row, first_row + kRows) of a call; their state is in the scratch memory.
struct RowState {
  const float* queries;          ///< [kRows][head_dim]
  float* mixed;                  ///< [kRows][value_dim]
  float *seen, *peaks, *totals;  ///< [8]: of row l % kWidth
  float* factors;                ///< [8]: of the rows' codes
  std::int16_t* codes;           ///< [kRows][head_dim]
};

/// Folds the lanes of each row; every lane gets its row's result.
template <int kWidth, class Fold>
inline __m256 fold_rows(__m256 x, const Fold& fold) {
  x = fold(x, _mm256_permute2f128_ps(x, x, 0x01));
  if (kWidth < 4) x = fold(x, _mm256_shuffle_ps(x, x, 0x4e));
  if (kWidth < 2) x = fold(x, _mm256_shuffle_ps(x, x, 0xb1));
  return x;
}

/// Scores of n positions from `first` on to weights, and what the new peaks mean for the old ones.
template <int kRows>
inline void weigh_rows(const RowState& state, int first, int n, RowGroup<kRows>& group) {
  constexpr int kWidth = RowGroup<kRows>::kWidth, kPositions = RowGroup<kRows>::kPositions;
  alignas(32) float places[8], keep[8];
  for (int l = 0; l < 8; ++l) places[l] = static_cast<float>(first + l / kWidth);
  const __m256 seen = Floats8::load(state.seen), old = Floats8::load(state.peaks);
  __m256 place = Floats8::load(places), peak = old;
  const __m256 step = Floats8::all(static_cast<float>(kPositions));
  for (int j = 0; j < n; j += kPositions, place = place + step) {
    float* weight = group.weight + j * kWidth;
    const __m256 known = Floats8::less(place, seen);
    const __m256 s = Floats8::select(known, Floats8::load(weight), Floats8::all(kNoScore));
    peak = Floats8::largest(s, peak);
  }
  peak = fold_rows<kWidth>(peak, [](__m256 x, __m256 y) { return Floats8::largest(x, y); });
  const __m256 shrink = power_of_two<Floats8>(old - peak);
  Floats8::store(keep, shrink);
  for (int q = 0; q < kWidth; ++q) group.keep[q] = keep[q];
  Floats8::store(state.peaks, peak);
  __m256 total = Floats8::load(state.totals) * shrink;
  place = Floats8::load(places);
  for (int j = 0; j < n; j += kPositions, place = place + step) {
    float* weight = group.weight + j * kWidth;
    const __m256 known = Floats8::less(place, seen);
    const __m256 w = power_of_two<Floats8>(Floats8::load(weight) - peak);
    const __m256 shown = Floats8::select(known, w, Floats8::zero());
    total = total + shown;
    Floats8::store(weight, shown);
  }
  Floats8::store(state.totals, total);
}

}  // namespace
}  // namespace lq::kernels
