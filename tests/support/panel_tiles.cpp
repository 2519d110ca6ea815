#include "tests/support/panel_tiles.h"

#include "kernels/panels/plain_requantized.h"
#include "kernels/panels/plain_tiles.h"

namespace lq::test {

extern constinit const kernels::PanelProducts kPlainTiles =
    kernels::tile_products_of<kernels::PlainTiles>();

extern constinit const kernels::PanelProducts kPlainRequantized =
    kernels::requantized_products<kernels::MultiplyRequantizedPlain>(kernels::requantize_plain);

}  // namespace lq::test
