#include "tests/support/panel_tiles.h"

#include "kernels/panels/plain_tiles.h"

namespace lq::test {

extern constinit const kernels::PanelProducts kPlainTiles =
    kernels::tile_products_of<kernels::PlainTiles>();

}  // namespace lq::test
