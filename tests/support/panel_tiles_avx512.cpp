// Compiled for AVX-512 with BF16 (CMakeLists.txt).
#include "tests/support/panel_tiles.h"

#include "kernels/cpu/ops/expand_avx512.h"
#include "kernels/panels/plain_tiles.h"

namespace lq::test {
namespace {

struct MixedTiles : kernels::PlainTiles {
  template <kernels::PanelForm F>
  static void expand(const std::byte* tile, int run, std::byte* b) {
    kernels::ExpandAvx512::expand<F>(tile, run, b);
  }
  template <class Block>
  static void expand_floats(const std::byte* from, std::byte* b) {
    kernels::ExpandAvx512::expand_floats<Block>(from, b);
  }
  static void round_columns(const float* x, std::byte* to) {
    kernels::ExpandAvx512::round_columns(x, to);
  }
};

}  // namespace

extern constinit const kernels::PanelProducts kAvx512Expansion =
    kernels::tile_products_of<MixedTiles>();

}  // namespace lq::test
