#pragma once
// Queries over a cache, and what they are to give.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "tests/support/kernel_data.h"

namespace lq::test {

using namespace kernels;

inline constexpr int kKvHeads = 3, kHead = 1;

/// Queries of n_tokens after `depth` positions, and the call that answers them.
struct Queries {
  CacheCase& cache;
  int n_tokens, group, depth;
  float scale;
  bool exact = true;
  std::vector<float> query, out, scratch;

  Queries(CacheCase& c, int tokens, int heads, int first, float factor)
      : cache(c), n_tokens(tokens), group(heads), depth(first), scale(factor) {
    const auto rows = static_cast<std::size_t>(n_tokens * group);
    query = normal_values(rows * static_cast<std::size_t>(c.head_dim), 5);
    out.resize(rows * static_cast<std::size_t>(c.value_dim));
    scratch.resize(attention_scratch(c.head_dim, c.value_dim), kNan);
  }
  int positions() const { return depth + n_tokens; }
  AttentionArgs args() {
    const auto page = static_cast<std::size_t>(kKvHeads * cache.page_tokens);
    return {.query = query.data(),
            .query_stride = static_cast<std::size_t>(group * cache.head_dim),
            .keys = cache.keys.data() +
                    static_cast<std::size_t>(kHead * cache.page_tokens) * cache.key_row(),
            .values = cache.values.data() +
                      static_cast<std::size_t>(kHead * cache.page_tokens) * cache.value_row(),
            .key_row = cache.key_row(),
            .value_row = cache.value_row(),
            .key_page = page * cache.key_row(),
            .value_page = page * cache.value_row(),
            .page_table = cache.pages.data(),
            .page_tokens = cache.page_tokens,
            .n_tokens = n_tokens,
            .group = group,
            .head_dim = cache.head_dim,
            .value_dim = cache.value_dim,
            .first_position = depth,
            .begin = 0,
            .end = positions(),
            .scale = scale,
            .out = out.data(),
            .out_stride = static_cast<std::size_t>(group * cache.value_dim),
            .peaks = nullptr,
            .totals = nullptr,
            .scratch = scratch.data(),
            .exact = exact};
  }
  /// Of some of the rows, the first and the last among them.
  struct Errors {
    double worst = 0, square_sum = 0;
    std::size_t n = 0;
    double rms() const { return std::sqrt(square_sum / static_cast<double>(n)); }
  };
  Errors errors() const {
    const int rows = n_tokens * group, step = std::max(1, rows / 7);
    Errors errors;
    for (int row = 0; row < rows; row = row + 1 < rows ? std::min(row + step, rows - 1) : rows) {
      const auto expected = cache.reference(query.data() + row * cache.head_dim, kHead,
                                            depth + row / group + 1, static_cast<double>(scale));
      const float* const actual = out.data() + row * cache.value_dim;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        const double error = std::fabs(static_cast<double>(actual[i]) - expected[i]);
        keep_worst(errors.worst, error);
        errors.square_sum += error * error;
      }
      errors.n += expected.size();
    }
    return errors;
  }
  double worst_error() const { return errors().worst; }

  /// Puts together what attend(args) gives for the positions from each of `begins` to the next, the
  /// last to the end. False where a row's total does not say whether it sees any of a part.
  template <class Attend>
  bool attend_parts(const std::vector<int>& begins, const Attend& attend) {
    const auto rows = static_cast<std::size_t>(n_tokens * group);
    const auto dims = static_cast<std::size_t>(cache.value_dim);
    std::vector<float> sum(rows * dims), total(rows), peak(rows, -1e30f);
    for (std::size_t i = 0; i < begins.size(); ++i) {
      AttentionArgs part = args();
      std::vector<float> peaks(rows, kNan), totals(rows, kNan);
      part.begin = begins[i];
      part.end = i + 1 < begins.size() ? begins[i + 1] : positions();
      part.peaks = peaks.data();
      part.totals = totals.data();
      attend(part);
      for (std::size_t r = 0; r < rows; ++r) {
        const bool sees = part.begin <= depth + static_cast<int>(r) / group;
        if ((totals[r] > 0) != sees) return false;
        if (!sees) continue;
        const float top = std::max(peak[r], peaks[r]);
        const float keep = std::exp2(peak[r] - top), weight = std::exp2(peaks[r] - top);
        peak[r] = top;
        total[r] = keep * total[r] + weight * totals[r];
        for (std::size_t at = r * dims; at < (r + 1) * dims; ++at)
          sum[at] = keep * sum[at] + weight * out[at];
      }
    }
    for (std::size_t i = 0; i < sum.size(); ++i) out[i] = sum[i] / total[i / dims];
    return true;
  }
};

}  // namespace lq::test
