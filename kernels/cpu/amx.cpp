// AMX: products of many tokens in tiles of bfloat16. The rest is avx512_vnni's.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/tiles_amx.h"

namespace lq::kernels {
namespace {

/// Expanding the weights takes as long as multiplying the codes with about this many tokens.
constexpr int kManyTokens = 16;

void peak_of_tiles(int rounds) noexcept {
  TilesAmx tiles;
  tiles.zero<0>(), tiles.zero<1>(), tiles.zero<2>(), tiles.zero<3>();
  tiles.zero<4>(), tiles.zero<5>(), tiles.zero<6>(), tiles.zero<7>();
  for (int i = 0; i < rounds; ++i) {
    tiles.add_product<0, 4, 6>();
    tiles.add_product<1, 4, 7>();
    tiles.add_product<2, 5, 6>();
    tiles.add_product<3, 5, 7>();
  }
}

consteval KernelTable make_table() {
  KernelTable table{.name = "amx"};
  table.panels.tiles = tile_products_of<TilesAmx>(kManyTokens);
  table.pair_peak = {peak_of_tiles, 4 * 2 * kTileSide * kTileSide * kStepColumns};
  return table;
}

}  // namespace

extern constinit const KernelTable kAmxKernels = make_table();

}  // namespace lq::kernels
