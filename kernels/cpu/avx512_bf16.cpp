// AVX-512 with BF16 that is as fast as products of binary32, which have half the numbers: many
// tokens times weights of 16 bits, and their attention. The rest is avx512_vnni's.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/attention_pairs.h"
#include "kernels/cpu/ops/peak_loops.h"
#include "kernels/cpu/ops/tiles_bf16.h"

namespace lq::kernels {
namespace {

void peak_of_pairs(int rounds) noexcept {
  run_chains(rounds, _mm512_set1_ps(1), [](__m512 sum, __m512 factor) {
    return PairOperands::add_product(factor, factor, sum);
  });
}

consteval KernelTable make_table() {
  KernelTable table{.name = "avx512_bf16"};
  table.panels.tiles = tile_products_of<TilesBf16, true>(kTileSide);
  // A cache of binary32 was asked for because of its precision.
  table.attention[index_of(DType::F16)] = attention_pairs<BlockF16>;
  table.attention[index_of(DType::Q8_0)] = attention_pairs<BlockQ8_0>;
  table.pair_peak = {peak_of_pairs, kPeakChains * 2 * 32};
  return table;
}

}  // namespace

extern constinit const KernelTable kAvx512Bf16Kernels = make_table();

}  // namespace lq::kernels
