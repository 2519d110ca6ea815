#pragma once
// Matrix products in binary32. Each sum of products is kept in 8 lanes over kChunk columns, lane j
// taking the columns j, j + 8, ...; the sums of the chunks are added in order. Both paths below do
// this for each row and token on its own, so the bits depend neither on the split of the rows nor
// on the number of tokens.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/decode_avx2.h"

namespace lq::kernels {
namespace {

/// Sizes of the pieces: 16 decoded rows (17 KB) and 3 tokens (3 KB) stay in the first cache, the
/// packed tokens (101 KB) in the second. kStride keeps neighbours off the same places of the first
/// cache: with rows 2 KB apart a tile takes 1.4 times as long.
struct MatmulSizes {
  static constexpr int kChunk = 256, kRows = 16, kTokens = 96;
  static constexpr int kStride = kChunk + 8;
  static constexpr int kTileRows = 4, kTileTokens = 3;
};

inline int smaller(int a, int b) { return a < b ? a : b; }

template <class Block>
inline const Block* block_at(const MatmulArgs& a, int row, int column) {
  const std::byte* start = a.w + static_cast<std::size_t>(row) * a.row_bytes;
  return reinterpret_cast<const Block*>(start) + column / Block::kValues;
}

/// Decodes columns [column, column + n) of a row; pads with zeros to a multiple of 8.
template <class Block>
inline void decode_part(const MatmulArgs& a, int row, int column, int n, float* out) {
  using D = Decoder<Block>;
  const Block* block = block_at<Block>(a, row, column);
  const int whole = n / D::kStep * D::kStep;
  for (int c = 0; c < whole; c += D::kStep, block += D::kStep / Block::kValues) {
    typename D::Scales scales;
    D::prepare(*block, scales);
    for (int u = 0; u < D::kStep / 32; ++u) {
      const Values32 values = D::values(block, scales, u);
      for (int i = 0; i < 4; ++i) _mm256_storeu_ps(out + c + 32 * u + 8 * i, values.v[i]);
    }
  }
  if constexpr (Block::kValues == 1) {
    int c = whole;
    for (; c < n; ++c) decode(*block++, out + c);
    for (; c % 8 != 0; ++c) out[c] = 0;
  }
}

/// y += or = the sums of four rows for one token.
inline void store_sums(const MatmulArgs& a, __m128 sums, int row, int n_rows, int token,
                       bool first) {
  float* y = a.y + static_cast<std::size_t>(token) * a.y_stride + static_cast<std::size_t>(row);
  if (n_rows == 4) {
    _mm_storeu_ps(y, first ? sums : _mm_add_ps(_mm_loadu_ps(y), sums));
    return;
  }
  float part[4];
  _mm_storeu_ps(part, sums);
  for (int r = 0; r < n_rows; ++r) y[r] = first ? part[r] : y[r] + part[r];
}

/// One token, four rows (the last row again where there are fewer): columns of one chunk.
template <class Block>
inline void multiply_vector_part(const MatmulArgs& a, int row, int n_rows, int column, int n) {
  using D = Decoder<Block>;
  constexpr int kRows = MatmulSizes::kTileRows, kBlocks = D::kStep / Block::kValues;
  const Block* const block[kRows] = {block_at<Block>(a, row, column),
                                     block_at<Block>(a, row + smaller(1, n_rows - 1), column),
                                     block_at<Block>(a, row + smaller(2, n_rows - 1), column),
                                     block_at<Block>(a, row + smaller(3, n_rows - 1), column)};
  __m256 sum[kRows] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                       _mm256_setzero_ps()};
  const float* x = a.x + column;
  const int whole = n / D::kStep;
  for (int step = 0; step < whole; ++step) {
    typename D::Scales scales[kRows];
    for (int r = 0; r < kRows; ++r) {
      const Block* b = block[r] + step * kBlocks;
      // The same place of the rows that come next.
      const auto* ahead = reinterpret_cast<const char*>(b) + kRows * a.row_bytes;
      for (std::size_t line = 0; line < kBlocks * sizeof(Block); line += 64)
        _mm_prefetch(ahead + line, _MM_HINT_T0);
      D::prepare(*b, scales[r]);
    }
    for (int u = 0; u < D::kStep / 32; ++u, x += 32)
      for (int r = 0; r < kRows; ++r) {
        const Values32 values = D::values(block[r] + step * kBlocks, scales[r], u);
        for (int i = 0; i < 4; ++i)
          sum[r] = _mm256_fmadd_ps(values.v[i], _mm256_loadu_ps(x + 8 * i), sum[r]);
      }
  }
  if constexpr (Block::kValues == 1) {
    for (int c = whole * D::kStep; c < n; c += 8, x += 8) {
      const __m256 tail = _mm256_maskload_ps(x, first_lanes(n - c));
      for (int r = 0; r < kRows; ++r) {
        float values[8] = {};
        for (int i = 0; i < smaller(8, n - c); ++i) decode(block[r][c + i], values + i);
        sum[r] = _mm256_fmadd_ps(_mm256_loadu_ps(values), tail, sum[r]);
      }
    }
  }
  store_sums(a, sums_of_4(sum[0], sum[1], sum[2], sum[3]), row, n_rows, 0, column == 0);
}

template <class Block>
inline void multiply_vector(const MatmulArgs& a) {
  for (int row = a.row_begin; row < a.row_end; row += MatmulSizes::kTileRows) {
    const int n_rows = smaller(a.row_end - row, MatmulSizes::kTileRows);
    for (int column = 0; column < a.cols; column += MatmulSizes::kChunk)
      multiply_vector_part<Block>(a, row, n_rows, column,
                                  smaller(a.cols - column, MatmulSizes::kChunk));
  }
}

/// Four decoded rows times kTokens packed tokens over n columns, a multiple of 8.
template <int kTokens>
inline void multiply_tile(const float* const* w, const float* x, int n, __m128* sums) {
  constexpr int kRows = MatmulSizes::kTileRows, kStride = MatmulSizes::kStride;
  __m256 sum[kRows][kTokens];
  for (int r = 0; r < kRows; ++r)
    for (int t = 0; t < kTokens; ++t) sum[r][t] = _mm256_setzero_ps();
  for (int c = 0; c < n; c += 8) {
    __m256 column[kTokens];
    for (int t = 0; t < kTokens; ++t) column[t] = _mm256_loadu_ps(x + t * kStride + c);
    for (int r = 0; r < kRows; ++r) {
      const __m256 weight = _mm256_loadu_ps(w[r] + c);
      for (int t = 0; t < kTokens; ++t) sum[r][t] = _mm256_fmadd_ps(weight, column[t], sum[r][t]);
    }
  }
  for (int t = 0; t < kTokens; ++t) sums[t] = sums_of_4(sum[0][t], sum[1][t], sum[2][t], sum[3][t]);
}

/// Rows and tokens in reach of the caches, over one chunk of columns.
struct MatmulPiece {
  int row, n_rows, token, n_tokens;
  bool first;  ///< chunk
  int n;       ///< columns, padded to a multiple of 8
};

/// All tiles of up to kTokens tokens of decoded rows and packed tokens.
inline void multiply_piece(const MatmulArgs& a, const MatmulPiece& p, const float* decoded,
                           const float* packed) {
  constexpr int kRows = MatmulSizes::kTileRows, kTokens = MatmulSizes::kTileTokens;
  constexpr int kStride = MatmulSizes::kStride;
  for (int t = 0; t < p.n_tokens; t += kTokens) {
    const int tokens = smaller(p.n_tokens - t, kTokens);
    for (int row = 0; row < p.n_rows; row += kRows) {
      const int rows = smaller(p.n_rows - row, kRows);
      const float* w[kRows];
      for (int r = 0; r < kRows; ++r) w[r] = decoded + (row + smaller(r, rows - 1)) * kStride;
      __m128 sums[kTokens];
      const float* x = packed + t * kStride;
      if (tokens == 3)
        multiply_tile<3>(w, x, p.n, sums);
      else if (tokens == 2)
        multiply_tile<2>(w, x, p.n, sums);
      else
        multiply_tile<1>(w, x, p.n, sums);
      for (int i = 0; i < tokens; ++i)
        store_sums(a, sums[i], p.row + row, rows, p.token + t + i, p.first);
    }
  }
}

/// Copies columns of some tokens to rows of kStride values, padded with zeros to a multiple of 8.
/// The copies lie together, while the rows of x may all fall on the same few places of a cache.
inline void pack_tokens(const MatmulArgs& a, int token, int n_tokens, int column, int n,
                        float* packed) {
  for (int t = 0; t < n_tokens; ++t, packed += MatmulSizes::kStride) {
    const float* x = a.x + static_cast<std::size_t>(token + t) * a.x_stride + column;
    memcpy(packed, x, static_cast<std::size_t>(n) * sizeof(float));
    for (int c = n; c % 8 != 0; ++c) packed[c] = 0;
  }
}

template <class Block>
inline void multiply_matrix(const MatmulArgs& a) {
  constexpr int kChunk = MatmulSizes::kChunk, kRows = MatmulSizes::kRows;
  alignas(64) float decoded[kRows * MatmulSizes::kStride];
  alignas(64) float packed[MatmulSizes::kTokens * MatmulSizes::kStride];
  for (int token = 0; token < a.n_tokens; token += MatmulSizes::kTokens) {
    const int n_tokens = smaller(a.n_tokens - token, MatmulSizes::kTokens);
    for (int column = 0; column < a.cols; column += kChunk) {
      const int n = smaller(a.cols - column, kChunk);
      pack_tokens(a, token, n_tokens, column, n, packed);
      for (int row = a.row_begin; row < a.row_end; row += kRows) {
        const int n_rows = smaller(a.row_end - row, kRows);
        for (int r = 0; r < n_rows; ++r)
          decode_part<Block>(a, row + r, column, n, decoded + r * MatmulSizes::kStride);
        multiply_piece(a, {row, n_rows, token, n_tokens, column == 0, (n + 7) / 8 * 8}, decoded,
                       packed);
      }
    }
  }
}

template <class Block>
void matmul_avx2(const MatmulArgs& a) noexcept {
  a.n_tokens == 1 ? multiply_vector<Block>(a) : multiply_matrix<Block>(a);
}

}  // namespace
}  // namespace lq::kernels
