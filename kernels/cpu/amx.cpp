// AMX: products of many tokens in tiles of bfloat16. The rest is avx512_vnni's.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/tiles_amx.h"

namespace lq::kernels {
namespace {

/// Expanding the weights takes as long as multiplying the codes with about this many tokens.
constexpr int kManyTokens = 16;

consteval KernelTable make_table() {
  KernelTable table{.name = "amx"};
  table.panels.many = tile_products_of<TilesAmx>();
  table.panels.many_tokens = kManyTokens;
  return table;
}

}  // namespace

extern constinit const KernelTable kAmxKernels = make_table();

}  // namespace lq::kernels
