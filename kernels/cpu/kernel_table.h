#pragma once
// One instruction set's kernels as function pointers, and the choice among the sets at run time.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/blocks/dtype.h"

namespace lq::kernels {

/// y[t][r] = sum over c of W[r][c] * x[t][c], for rows r in [row_begin, row_end) and all n_tokens
/// columns t. Single-threaded; the result of a row does not depend on which range it was computed
/// in.
struct MatmulArgs {
  const std::byte* w;  ///< [rows][cols] stored blocks, rows contiguous
  std::size_t row_bytes;
  int cols;
  int row_begin, row_end;
  const float* x;  ///< [n_tokens][x_stride], first `cols` values of a row are used
  std::size_t x_stride;
  float* y;  ///< [n_tokens][y_stride]
  std::size_t y_stride;
  int n_tokens;
};
using MatmulFn = void (*)(const MatmulArgs&) noexcept;

/// Scores and mixes one query head over a range of cached positions (paged cache, binary16).
struct AttentionArgs {
  const float* query;              ///< [head_dim]
  const std::uint16_t* keys;       ///< pool: [pages][page_tokens][kv_stride]
  const std::uint16_t* values;     ///< like keys
  const std::int32_t* page_table;  ///< pages of the sequence, in order
  int page_tokens;                 ///< positions a page
  std::size_t kv_stride;           ///< values a position: kv heads * head_dim
  std::size_t head_offset;         ///< where the head starts inside a position
  int head_dim;
  int n_positions;  ///< attends to positions [0, n_positions)
  float scale;      ///< multiplies the scores
  float* scores;    ///< scratch: [n_positions]
  float* out;       ///< [head_dim]
};

/// One instruction set's kernels. A null entry means "no better than the set below": dispatch fills
/// it from there, so that a set lists only what it improves.
struct KernelTable {
  const char* name;                   ///< for LQ_CPU_ISA and reports, e.g. "avx2"
  bool (*supported)() noexcept;       ///< do this CPU and operating system have it?
  MatmulFn matmul[kDTypeCount] = {};  ///< null for types without a codec
  /// y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]; x and y may be the same.
  void (*rms_norm)(const float* x, const float* weight, float eps, int n,
                   float* y) noexcept = nullptr;
  /// y[i] = silu(gate[i]) * up[i].
  void (*silu_multiply)(const float* gate, const float* up, std::size_t n,
                        float* y) noexcept = nullptr;
  /// y[i] += x[i].
  void (*add)(const float* x, std::size_t n, float* y) noexcept = nullptr;
  void (*to_half)(const float* x, std::size_t n, std::uint16_t* y) noexcept = nullptr;
  void (*attention)(const AttentionArgs&) noexcept = nullptr;
};

/// Every set that was compiled in, best last: a row of isas.def each.
std::span<const KernelTable* const> all_kernel_tables() noexcept;

/// The set named `name`, or the best supported one when it is empty, with empty slots filled from
/// the sets below it. Null when the name is unknown or the machine does not support it.
const KernelTable* kernel_table(std::string_view name) noexcept;

}  // namespace lq::kernels
