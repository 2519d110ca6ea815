// AVX-512 with BF16 that is as fast as products of binary32, which have half the numbers: many
// tokens times weights of 16 bits, and their attention. The rest is avx512_vnni's.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/attention_pairs.h"
#include "kernels/cpu/ops/tiles_bf16.h"

namespace lq::kernels {
namespace {

consteval KernelTable make_table() {
  KernelTable table{.name = "avx512_bf16"};
  table.panels.many = tile_products_of<TilesBf16, true>();
  table.panels.many_tokens = kTileSide;
  // A cache of binary32 was asked for because of its precision.
  table.attention[index_of(DType::F16)] = attention_pairs<BlockF16>;
  table.attention[index_of(DType::Q8_0)] = attention_pairs<BlockQ8_0>;
  return table;
}

}  // namespace

extern constinit const KernelTable kAvx512Bf16Kernels = make_table();

}  // namespace lq::kernels
