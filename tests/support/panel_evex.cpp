// The products of avx_vnni with the encodings that AVX-512 VNNI has for them. Compiled for AVX2 and
// these (CMakeLists.txt).
#include "kernels/cpu/ops/vnni_rows_256.h"
#include "tests/support/panel_tiles.h"
#include "tests/support/panel_vnni.h"

namespace lq::test {
namespace {

struct EvexProducts {
  static __m256i bytes(__m256i sum, __m256i codes, __m256i x) {
    return _mm256_dpbusd_epi32(sum, codes, x);
  }
  static __m256i pairs(__m256i sum, __m256i a, __m256i b) { return _mm256_dpwssd_epi32(sum, a, b); }
};
using EvexRows = kernels::VnniRows256<EvexProducts>;

}  // namespace

extern constinit const kernels::PanelProducts kEvexVnni = vnni_products<EvexRows>();
extern constinit const kernels::PanelProducts kEvexRequantized =
    requantized_vnni_products<EvexRows>();

}  // namespace lq::test
