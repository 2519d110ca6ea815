#pragma once
// Attention for each type of the cache: rows or tiles.
#include "kernels/cpu/ops/attention_rows.h"
#include "kernels/cpu/ops/attention_tiles.h"

namespace lq::kernels {
namespace {

template <class V, class Block>
void attention_lanes(const AttentionArgs& a) noexcept {
  const bool whole = a.head_dim % V::kLanes == 0 && a.value_dim % V::kLanes == 0;
  if (whole && a.n_tokens * a.group <= AttentionRows<V, Block>::kMost)
    AttentionRows<V, Block>(a).run();
  else
    attend_tiles<FloatOperands<V>, Block>(a);
}

template <class V>
consteval void set_attention(KernelTable& table) {
#define LQ_CACHE_TYPE(type) \
  table.attention[static_cast<int>(DType::type)] = attention_lanes<V, Block##type>;
#include "kernels/blocks/cache_types.def"
#undef LQ_CACHE_TYPE
}

}  // namespace
}  // namespace lq::kernels
