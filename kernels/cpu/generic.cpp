// Kernels in plain C++: complete with the codecs of the traits, portable, and what every other set
// is checked against.
#include <math.h>

#include "kernels/blocks/all_blocks.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/attention_generic.h"
#include "kernels/groups/group_functions.h"
#include "kernels/panels/plain_panels.h"

namespace lq::kernels {
namespace {

constexpr int kLanes = 8;    ///< independent sums, so that baseline vectors can be used
constexpr int kChunk = 512;  ///< columns decoded at a time; a multiple of every block

/// Sum of a[i] * b[i] in kLanes interleaved sums.
float dot(const float* a, const float* b, int n) {
  float lane[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int j = 0; j < kLanes; ++j) lane[j] += a[i + j] * b[i + j];
  for (int j = 0; i < n; ++i, ++j) lane[j] += a[i] * b[i];
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

template <class Block>
void matmul_generic(const MatmulArgs& a) noexcept {
  static_assert(kChunk % Block::kValues == 0, "a chunk is whole blocks");
  float decoded[kChunk];
  for (int row = a.row_begin; row < a.row_end; ++row) {
    const auto* block =
        reinterpret_cast<const Block*>(a.w + static_cast<std::size_t>(row) * a.row_bytes);
    for (int column = 0; column < a.cols; column += kChunk) {
      const int n = a.cols - column < kChunk ? a.cols - column : kChunk;
      for (int i = 0; i < n; i += Block::kValues) decode(*block++, decoded + i);
      for (int t = 0; t < a.n_tokens; ++t) {
        const float part = dot(decoded, a.x + static_cast<std::size_t>(t) * a.x_stride + column, n);
        float& y = a.y[static_cast<std::size_t>(t) * a.y_stride + static_cast<std::size_t>(row)];
        y = column == 0 ? part : y + part;
      }
    }
  }
}

void rms_norm_generic(const float* x, const float* weight, float eps, int n, float* y) noexcept {
  double squares = 0;
  for (int i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const float inverse = 1.0f / sqrtf(static_cast<float>(squares / n) + eps);
  for (int i = 0; i < n; ++i) y[i] = x[i] * inverse * weight[i];
}

void silu_multiply_generic(const float* gate, const float* up, std::size_t n, float* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

void add_generic(const float* x, std::size_t n, float* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] += x[i];
}

bool all_finite_generic(const float* x, std::size_t n) noexcept {
  std::uint32_t found = 0;  // no early end: the loop becomes vector code
  for (std::size_t i = 0; i < n; ++i) found |= float_is_finite(x[i]) ? 0u : 1u;
  return found == 0;
}

void to_half_generic(const float* x, std::size_t n, std::uint16_t* y) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = float_to_half(x[i]);
}

consteval KernelTable make_table() {
  KernelTable table{.name = "generic"};
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) \
  table.matmul[static_cast<int>(DType::id)] = matmul_generic<Block>;
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  table.panels = plain_panel_kernels();
  table.rms_norm = rms_norm_generic;
  table.silu_multiply = silu_multiply_generic;
  table.add = add_generic;
  for (int i = 0; i < kPrecisionCount; ++i)
    table.groups[i] = group_kernels_of(static_cast<Precision>(i));
  table.all_finite = all_finite_generic;
  table.to_half = to_half_generic;
#define LQ_CACHE_TYPE(type) \
  table.attention[static_cast<int>(DType::type)] = attention_generic<Block##type>;
#include "kernels/blocks/cache_types.def"
#undef LQ_CACHE_TYPE
  return table;
}

}  // namespace

extern constinit const KernelTable kGenericKernels = make_table();

}  // namespace lq::kernels
