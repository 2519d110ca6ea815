// AVX-512 with BF16 that is as fast as products of binary32, which have half the numbers: products
// of many tokens with weights of 16 bits. The rest is avx512_vnni's.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/tiles_bf16.h"

namespace lq::kernels {
namespace {

consteval KernelTable make_table() {
  KernelTable table{.name = "avx512_bf16"};
  table.panels.many = tile_products_of<TilesBf16, true>();
  table.panels.many_tokens = kTileSide;
  return table;
}

}  // namespace

extern constinit const KernelTable kAvx512Bf16Kernels = make_table();

}  // namespace lq::kernels
