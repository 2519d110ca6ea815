#pragma once
// Random operands and naive references for tests of kernels and backends.
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

inline std::vector<std::uint16_t> half_values(std::size_t n, std::uint32_t seed) {
  std::vector<std::uint16_t> halves;
  for (const float value : normal_values(n, seed)) halves.push_back(kernels::float_to_half(value));
  return halves;
}

/// Operands of attention over a paged cache whose pages lie in reverse order.
struct AttentionCase {
  int n_queries, n_kv_heads, head_dim, value_dim, page_tokens, n_pages;
  std::vector<float> query;  ///< [n_queries][head_dim], all of one key-value head
  std::vector<std::uint16_t> keys, values;
  std::vector<std::int32_t> pages;

  AttentionCase(int queries, int kv_heads, int key_dim, int out_dim, int tokens_a_page, int n)
      : n_queries(queries),
        n_kv_heads(kv_heads),
        head_dim(key_dim),
        value_dim(out_dim),
        page_tokens(tokens_a_page),
        n_pages(n) {
    const auto places = static_cast<std::size_t>(page_tokens * n_pages * n_kv_heads);
    query = normal_values(static_cast<std::size_t>(n_queries * head_dim), 5);
    keys = half_values(places * static_cast<std::size_t>(head_dim), 6);
    values = half_values(places * static_cast<std::size_t>(value_dim), 7);
    for (int i = n_pages; i-- > 0;) pages.push_back(i);
  }

  /// What query head `q` sees through head `kv_head`, in binary64.
  std::vector<double> reference(const float* q, int kv_head, int n_positions, double scale) const {
    std::vector<double> score;
    double peak = -INFINITY, total = 0;
    for (int p = 0; p < n_positions; ++p) {
      double sum = 0;
      const std::uint16_t* key = keys.data() + place(p, kv_head) * head_dim;
      for (int i = 0; i < head_dim; ++i)
        sum += static_cast<double>(q[i]) * static_cast<double>(kernels::half_to_float(key[i]));
      score.push_back(sum * scale);
      peak = std::fmax(peak, score.back());
    }
    std::vector<double> out(static_cast<std::size_t>(value_dim));
    for (int p = 0; p < n_positions; ++p) {
      const double weight = std::exp(score[static_cast<std::size_t>(p)] - peak);
      const std::uint16_t* value = values.data() + place(p, kv_head) * value_dim;
      total += weight;
      for (std::size_t i = 0; i < out.size(); ++i)
        out[i] += weight * static_cast<double>(kernels::half_to_float(value[i]));
    }
    for (double& value : out) value /= total;
    return out;
  }

 private:
  std::ptrdiff_t place(int p, int kv_head) const {
    const int page = pages[static_cast<std::size_t>(p / page_tokens)];
    return (page * n_kv_heads + kv_head) * page_tokens + p % page_tokens;
  }
};

}  // namespace lq::test
