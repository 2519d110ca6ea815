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

/// Queries of one key-value head over positions of a paged cache. Row r of the queries is head
/// r % group of token r / group; token t sees the positions [0, first_position + t], and of these
/// the kernel looks at those in [begin, end). Out of row r, with the weights
/// w[p] = 2^(log2(e) * scale * query[r] . key[p] - peak[r]) and total[r] = sum over p of w[p]:
/// sum over p of w[p] * value[p], divided by total[r] unless `peaks` is given.
struct AttentionArgs {
  const float* query;                ///< of a token: [group][head_dim]
  std::size_t query_stride;          ///< from one token to the next, in values
  const std::byte *keys, *values;    ///< stored rows of the head in page 0: [page_tokens]
  std::size_t key_row, value_row;    ///< from one position to the next, in bytes
  std::size_t key_page, value_page;  ///< from one page to the next, in bytes
  const std::int32_t* page_table;    ///< pages of the sequence, in order
  int page_tokens;                   ///< positions a page
  int n_tokens, group;
  int head_dim, value_dim;
  int first_position;  ///< of token 0
  int begin, end;      ///< where `peaks` is null every token has to see one of them
  float scale;
  float* out;              ///< of a token: [group][value_dim]
  std::size_t out_stride;  ///< from one token to the next, in values
  float *peaks, *totals;  ///< [n_tokens * group], or null; a row that sees nothing has a total of 0
  float* scratch;         ///< attention_scratch() floats
  bool exact = false;     ///< products are binary32; else a set may round what is multiplied
};
using AttentionFn = void (*)(const AttentionArgs&) noexcept;

constexpr int kAttentionRows = 96;   ///< rows that a kernel takes at a time: n_tokens * group
constexpr int kAttentionBlock = 64;  ///< positions that it takes at a time

/// Floats of scratch memory that the attention kernels of every set are content with.
static inline std::size_t attention_scratch(int head_dim, int value_dim) {
  constexpr std::size_t kRows = kAttentionRows + 48;  // whole panels of the widest set
  const std::size_t dims = static_cast<std::size_t>(head_dim) + static_cast<std::size_t>(value_dim);
  return (kRows + kAttentionBlock) * (dims + 16) + kRows * (kAttentionBlock + 4) + 16;
}

/// Attention of many queries of a stage: the keys and values of a head are made codes of 8 bits, a
/// block of positions at a time, and all queries are multiplied with these. Queries and weights are
/// rounded to 8 bits, too. Filled as a whole.
struct ByteAttention {
  int positions = 0;  ///< of a block, a divisor of 512; 0: this way is not there
  int tile_rows = 0;  ///< n_tokens * group that are taken at a time
  /// 0 for heads that this way does not take.
  std::size_t (*block_bytes)(int head_dim, int value_dim) noexcept = nullptr;
  /// Floats of scratch memory for attend().
  std::size_t (*scratch)(int head_dim, int value_dim) noexcept = nullptr;
  /// Makes block `index` of the positions [0, end). By type of the cache; null for those that are
  /// not to be rounded.
  void (*prepare[kDTypeCount])(const AttentionArgs&, int index, std::byte* block) noexcept = {};
  /// As an AttentionFn, with the blocks from position 0 on, whose first 16 keys are the same for
  /// all of a head's blocks. `begin` is a block's.
  void (*attend)(const AttentionArgs&, const std::byte* blocks) noexcept = nullptr;

  /// Fewer rows are better off with AttentionFn.
  static constexpr int kLeastRows = 32;
};

using EncodeFn = decltype(DTypeTraits::encode);
using DecodeFn = decltype(DTypeTraits::decode);

/// Products and sums alone, from registers: what multiplies with the same instructions is not
/// faster.
struct PeakLoop {
  void (*run)(int rounds) noexcept = nullptr;
  int operations = 0;  ///< multiplications and additions a round
};

/// One instruction set's kernels. A null entry means "no better than the set below": dispatch fills
/// it from there, so that a set lists only what it improves. Below the first set are the traits.
struct KernelTable {
  const char* name;                   ///< for LQ_CPU_ISA and reports, e.g. "avx2"
  MatmulFn matmul[kDTypeCount] = {};  ///< null for types without a codec
  PanelKernels panels;                ///< products of 8-bit activations with integer codes
  /// Of products of codes, of products in binary32, and of panels.tiles.
  PeakLoop code_peak, float_peak, pair_peak;
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
  /// By type of the cache; null for types that no cache has.
  AttentionFn attention[kDTypeCount] = {};
  ByteAttention byte_attention;
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
