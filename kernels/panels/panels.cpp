#include "kernels/panels/panels.h"

#include "kernels/blocks/all_blocks.h"
#include "kernels/panels/float_panels.h"
#include "kernels/panels/layout.h"

namespace lq::kernels {
namespace {

template <class Block>
constexpr PanelTraits panel_traits_of() {
  if constexpr (HasPanel<Block>) {
    using Layout = PanelLayout<Block::kPanel>;
    return {.exists = true, .columns = Layout::kColumns, .tile_bytes = Layout::kBytes};
  }
  if constexpr (HasFloatPanel<Block>) {
    using Layout = FloatLayout<Block>;
    return {
        .exists = true, .floats = true, .columns = Layout::kColumns, .tile_bytes = Layout::kBytes};
  }
  return {};
}

constexpr PanelTraits kPanelTraits[] = {
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse) panel_traits_of<Block>(),
#define LQ_STORAGE(id, name, gguf_id, values, bytes) {},
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
};

}  // namespace

const PanelTraits& panel_traits(DType type) noexcept { return kPanelTraits[index_of(type)]; }

}  // namespace lq::kernels
