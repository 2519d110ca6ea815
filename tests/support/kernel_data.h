#pragma once
// Random operands and naive references for tests of kernels and backends.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "kernels/half.h"

namespace lq::test {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline std::vector<float> normal_values(std::size_t n, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(generator);
  return values;
}

/// Raises `worst` to `error`; a NaN stays, so that no bound holds.
inline void keep_worst(double& worst, double error) {
  if (!std::isnan(worst) && !(error <= worst)) worst = error;
}

/// A stored random matrix and the values a decoder has to find in it.
struct StoredMatrix {
  DType type;
  std::size_t rows, cols, row_bytes;
  std::vector<std::byte> bytes;
  std::size_t skip = 0;       ///< bytes before the first block
  std::vector<float> values;  ///< [rows][cols]

  StoredMatrix(DType dtype, std::size_t n_rows, std::size_t n_cols, std::uint32_t seed)
      : type(dtype), rows(n_rows), cols(n_cols), row_bytes(traits(dtype).row_bytes(n_cols)) {
    const std::vector<float> x = normal_values(rows * cols, seed);
    bytes.resize(rows * row_bytes);
    values.resize(rows * cols);
    for (std::size_t r = 0; r < rows; ++r)
      traits(type).encode(x.data() + r * cols, nullptr, bytes.data() + r * row_bytes, cols);
    traits(type).decode(bytes.data(), values.data(), values.size());
  }
};

/// Sum of a[i] * b[i] and of its magnitudes, in binary64.
struct Dot {
  double sum = 0, magnitude = 0;
  Dot(const float* a, const float* b, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      const double product = static_cast<double>(a[i]) * static_cast<double>(b[i]);
      sum += product;
      magnitude += std::fabs(product);
    }
  }
};

/// A paged cache of keys and values whose pages lie in reverse order. What was not filled is not a
/// number, as far as the type has such.
struct CacheCase {
  DType type;
  int n_kv_heads, head_dim, value_dim, page_tokens;
  std::vector<std::byte> keys, values;
  std::vector<std::int32_t> pages;

  CacheCase(DType dtype, int kv_heads, int key_dim, int out_dim, int tokens_a_page, int n_positions)
      : type(dtype),
        n_kv_heads(kv_heads),
        head_dim(key_dim),
        value_dim(out_dim),
        page_tokens(tokens_a_page) {
    const int n_pages = (n_positions + page_tokens - 1) / page_tokens;
    const auto places = static_cast<std::size_t>(page_tokens * n_pages * n_kv_heads);
    keys.assign(places * key_row(), std::byte{0xff});
    values.assign(places * value_row(), std::byte{0xff});
    for (int i = n_pages; i-- > 0;) pages.push_back(i);
  }
  std::size_t key_row() const { return traits(type).row_bytes(static_cast<std::size_t>(head_dim)); }
  std::size_t value_row() const {
    return traits(type).row_bytes(static_cast<std::size_t>(value_dim));
  }
  std::byte* key(int p, int head) { return keys.data() + place(p, head) * key_row(); }
  std::byte* value(int p, int head) { return values.data() + place(p, head) * value_row(); }

  /// Random rows at the first positions of every head.
  void fill(int n_positions, std::uint32_t seed) {
    const auto n = static_cast<std::size_t>(n_positions) * static_cast<std::size_t>(n_kv_heads);
    const std::vector<float> k = normal_values(n * static_cast<std::size_t>(head_dim), seed);
    const std::vector<float> v = normal_values(n * static_cast<std::size_t>(value_dim), seed + 1);
    const float *next_key = k.data(), *next_value = v.data();
    for (int p = 0; p < n_positions; ++p)
      for (int h = 0; h < n_kv_heads; ++h, next_key += head_dim, next_value += value_dim) {
        traits(type).encode(next_key, nullptr, key(p, h), static_cast<std::size_t>(head_dim));
        traits(type).encode(next_value, nullptr, value(p, h), static_cast<std::size_t>(value_dim));
      }
  }

  /// What query `q` sees through head `head`, in binary64.
  std::vector<double> reference(const float* q, int head, int n_positions, double scale) {
    std::vector<float> row(static_cast<std::size_t>(std::max(head_dim, value_dim)));
    std::vector<double> score, out(static_cast<std::size_t>(value_dim));
    double peak = -INFINITY, total = 0;
    for (int p = 0; p < n_positions; ++p) {
      traits(type).decode(key(p, head), row.data(), static_cast<std::size_t>(head_dim));
      score.push_back(Dot(q, row.data(), static_cast<std::size_t>(head_dim)).sum * scale);
      peak = std::fmax(peak, score.back());
    }
    for (int p = 0; p < n_positions; ++p) {
      const double weight = std::exp(score[static_cast<std::size_t>(p)] - peak);
      traits(type).decode(value(p, head), row.data(), out.size());
      total += weight;
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += weight * static_cast<double>(row[i]);
    }
    for (double& x : out) x /= total;
    return out;
  }

 private:
  std::size_t place(int p, int head) const {
    const int page = pages[static_cast<std::size_t>(p / page_tokens)];
    return static_cast<std::size_t>((page * n_kv_heads + head) * page_tokens + p % page_tokens);
  }
};

}  // namespace lq::test
