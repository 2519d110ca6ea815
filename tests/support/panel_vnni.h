#pragma once
// The products of codes of sets with VNNI, for vectors V (vnni_rows_512.h, vnni_rows_256.h) that no
// set has. Instructions that are emulated are to be included before.
#include "kernels/cpu/ops/panel_matmul.h"
#include "kernels/cpu/ops/requantized_vnni.h"

namespace lq::test {
namespace {

template <class V, class Block>
consteval void add_vnni_type(kernels::PanelProducts& products, DType type) {
  if constexpr (kernels::HasPanel<Block>)
    products.multiply[index_of(type)] = kernels::multiply_panels<kernels::PanelsVnni<V>, Block>;
}

/// For few tokens, and many without requantized weights; without types that are floats.
template <class V>
consteval kernels::PanelProducts vnni_products() {
  using namespace kernels;
  PanelProducts products{.widest_tile = PanelsVnni<V>::kWidest,
                         .activation_bytes = activation_bytes,
                         .quantize = quantize_avx2};
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) add_vnni_type<V, Block>(products, DType::id);
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  return products;
}

template <class V>
consteval kernels::PanelProducts requantized_vnni_products() {
  using namespace kernels;
  return requantized_products<RequantizedVnni<V>::template Multiply>(requantize_avx2);
}

}  // namespace
}  // namespace lq::test
