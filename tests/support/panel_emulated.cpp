// Compiled for AVX2 (CMakeLists.txt).
#include "tests/support/emulated_avx512.h"

#include "kernels/cpu/ops/expand_avx512.h"
#include "kernels/cpu/ops/panel_matmul.h"
#include "kernels/cpu/ops/requantized_vnni.h"
#include "tests/support/panel_tiles.h"

namespace lq::test {
namespace {

struct EmulatedTiles : kernels::PlainTiles {
  template <kernels::PanelForm F>
  static void expand(const std::byte* tile, int run, std::byte* b) {
    kernels::ExpandAvx512::expand<F>(tile, run, b);
  }
  static void round_columns(const float* x, std::byte* to) {
    kernels::ExpandAvx512::round_columns(x, to);
  }
};

template <class Block>
consteval void add_type(kernels::PanelProducts& products, DType type) {
  if constexpr (kernels::HasPanel<Block>)
    products.multiply[index_of(type)] = kernels::multiply_panels<kernels::PanelsVnni, Block>;
}

consteval kernels::PanelProducts vnni_products() {
  using namespace kernels;
  PanelProducts products{.widest_tile = PanelsVnni::kWidest,
                         .activation_bytes = activation_bytes,
                         .quantize = quantize_avx2};
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) add_type<Block>(products, DType::id);
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  return products;
}

}  // namespace

extern constinit const kernels::PanelProducts kEmulatedVnni = vnni_products();
extern constinit const kernels::PanelProducts kEmulatedRequantized =
    kernels::requantized_products<kernels::MultiplyRequantizedVnni>(kernels::requantize_avx2);
extern constinit const kernels::PanelProducts kEmulatedExpansion =
    kernels::tile_products_of<EmulatedTiles>();

}  // namespace lq::test
