#pragma once
// What attention kernels of AVX2 and up share: where the rows of a cache are, how they become
// floats, and powers of two for the weights.
#include <float.h>

#include "kernels/blocks/f16.h"
#include "kernels/blocks/f32.h"
#include "kernels/blocks/q8_0.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/floats_avx2.h"

namespace lq::kernels {
namespace {

constexpr float kNoScore = -FLT_MAX;  ///< finite: differences to it are numbers
constexpr float kLog2E = 1.44269504f;

/// The scratch memory from a cache line's begin: loads across lines take twice as long.
inline float* aligned_scratch(const AttentionArgs& a) {
  return reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(a.scratch) + 63) / 64 * 64);
}

/// Where the stored rows of positions [first, first + n) are.
inline void find_rows(const AttentionArgs& a, const std::byte* pool, std::size_t page_bytes,
                      std::size_t row_bytes, int first, int n, const std::byte** rows) {
  int page = first / a.page_tokens, place = first % a.page_tokens;
  for (int j = 0; j < n; ++page, place = 0) {
    const std::byte* row = pool + static_cast<std::size_t>(a.page_table[page]) * page_bytes +
                           static_cast<std::size_t>(place) * row_bytes;
    for (; place < a.page_tokens && j < n; ++place, ++j, row += row_bytes) rows[j] = row;
  }
}

/// V::kLanes values of a stored row from value d on, which is a multiple of V::kLanes.
template <class V>
inline typename V::Value load_values(const BlockF32* row, int d) {
  return V::load(reinterpret_cast<const float*>(row) + d);
}
template <class V>
inline typename V::Value load_values(const BlockF16* row, int d) {
  return V::halves(row + d);
}
template <class V>
inline typename V::Value load_values(const BlockQ8_0* row, int d) {
  const BlockQ8_0& block = row[d / BlockQ8_0::kValues];
  return V::bytes(block.code + d % BlockQ8_0::kValues) *
         V::all(_cvtsh_ss(static_cast<unsigned short>(block.scale)));
}

/// The n values of a stored row.
template <class V, class Block>
inline void expand_row(const std::byte* stored, int n, float* out) {
  const auto* row = reinterpret_cast<const Block*>(stored);
  int d = 0;
  for (; d + V::kLanes <= n; d += V::kLanes) V::store(out + d, load_values<V>(row, d));
  if constexpr (Block::kValues == 1)
    for (; d < n; ++d) decode(row[d], out + d);
}

/// 2^x for x <= 0 within 1.5 ulp (2^-23), but at least 2^-126; NaN stays NaN.
template <class V>
inline typename V::Value power_of_two(typename V::Value x) {
  // x = n + r with |r| <= 1/2. Beyond 2^22 floats are whole: the sum's last bits are n.
  x = V::largest(V::all(-126.0f), x);
  const auto shift = V::all(12582912.0f);
  const auto shifted = x + shift;
  const auto r = x - (shifted - shift);
  // (2^r - 1) / r with the smallest relative error of the whole, 2^-23.4.
  auto series = V::all(0.0013264722048445812f);
  series = V::multiply_add(series, r, V::all(0.009671512997083957f));
  series = V::multiply_add(series, r, V::all(0.05550733760383617f));
  series = V::multiply_add(series, r, V::all(0.24022242077582776f));
  series = V::multiply_add(series, r, V::all(0.693146977587217f));
  series = V::multiply_add(series, r, V::all(1.0f));
  return V::times_power(series, shifted);
}

}  // namespace
}  // namespace lq::kernels
