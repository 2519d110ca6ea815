#pragma once
// One instruction set's kernels as function pointers, and the choice among the sets at run time.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/blocks/dtype.h"
#include "kernels/groups/groups.h"
#include "kernels/panels/panels.h"

namespace lq::kernels {

/// y[t][r] = sum over c of W[r][c] * x[t][c], for rows r in [row_begin, row_end) and all n_tokens
/// rows t of x. Single-threaded. The bits of y[t][r] do not depend on the range nor on n_tokens.
struct MatmulArgs {
  const std::byte* w;     ///< [rows][cols] stored blocks, at any address
  std::size_t row_bytes;  ///< from one row to the next
  int cols;               ///< whole blocks
  int row_begin, row_end;
  const float* x;  ///< [n_tokens][x_stride], first `cols` values of a row are used
  std::size_t x_stride;
  float* y;  ///< [n_tokens][y_stride]
  std::size_t y_stride;
  int n_tokens;
};
using MatmulFn = void (*)(const MatmulArgs&) noexcept;

/// out[q] = sum over p of softmax_p(scale * query[q] . key[p]) * value[p], for query heads that
/// share one key-value head and the positions p in [0, n_positions) of a paged cache. The
/// bits of out[q] do not depend on n_queries.
struct AttentionArgs {
  const float* query;                ///< [n_queries][head_dim]
  const void* keys;                  ///< of the head in page 0: [page_tokens][head_dim]
  const void* values;                ///< of the head in page 0: [page_tokens][value_dim]
  std::size_t key_page, value_page;  ///< from one page to the next, in values
  const std::int32_t* page_table;    ///< pages of the sequence, in order
  int page_tokens;                   ///< positions a page
  int n_queries, head_dim, value_dim;
  int n_positions;  ///< at least 1
  float scale;
  float* out;  ///< [n_queries][value_dim]
};

using EncodeFn = decltype(DTypeTraits::encode);
using DecodeFn = decltype(DTypeTraits::decode);

/// One instruction set's kernels. A null entry means "no better than the set below": dispatch fills
/// it from there, so that a set lists only what it improves. Below the first set are the traits.
struct KernelTable {
  const char* name;                   ///< for LQ_CPU_ISA and reports, e.g. "avx2"
  MatmulFn matmul[kDTypeCount] = {};  ///< null for types without a codec
  PanelKernels panels;                ///< products of 8-bit activations with integer codes
  /// DTypeTraits::encode with the same bytes, for every row of finite values.
  EncodeFn encode[kDTypeCount] = {};
  /// DTypeTraits::decode with the same bits; a NaN may become another.
  DecodeFn decode[kDTypeCount] = {};
  /// Weights of Hugging Face checkpoints, by Precision; the same bytes in every set.
  GroupKernels groups[kPrecisionCount] = {};
  /// Whether no value is an infinity or not a number.
  bool (*all_finite)(const float* x, std::size_t n) noexcept = nullptr;
  /// y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]; x and y may be the same.
  void (*rms_norm)(const float* x, const float* weight, float eps, int n,
                   float* y) noexcept = nullptr;
  /// y[i] = silu(gate[i]) * up[i]; y may be gate or up.
  void (*silu_multiply)(const float* gate, const float* up, std::size_t n,
                        float* y) noexcept = nullptr;
  /// y[i] += x[i].
  void (*add)(const float* x, std::size_t n, float* y) noexcept = nullptr;
  /// binary16, rounded as float_to_half does.
  void (*to_half)(const float* x, std::size_t n, std::uint16_t* y) noexcept = nullptr;
  void (*attention)(const AttentionArgs&) noexcept = nullptr;      ///< binary16 cache
  void (*attention_f32)(const AttentionArgs&) noexcept = nullptr;  ///< binary32 cache
};

/// A row of isas.def.
struct KernelSet {
  const KernelTable* table;  ///< as its file defines it: with null entries
  bool supported;            ///< by this processor and operating system
  const char* condition;     ///< the row's; what it asks for stands in quotes
};

/// Every set that was compiled in, best last.
std::span<const KernelSet> kernel_sets() noexcept;

/// The set named `name`, or the best supported one when it is empty, with empty slots filled from
/// the sets below it. Null when the name is unknown or the machine does not support it.
const KernelTable* kernel_table(std::string_view name) noexcept;

}  // namespace lq::kernels
