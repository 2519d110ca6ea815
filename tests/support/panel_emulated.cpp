// Compiled for AVX2 (CMakeLists.txt).
#include "tests/support/emulated_avx512.h"

#include "kernels/cpu/ops/expand_avx512.h"
#include "kernels/cpu/ops/vnni_rows_256.h"
#include "kernels/cpu/ops/vnni_rows_512.h"
#include "tests/support/panel_tiles.h"
#include "tests/support/panel_vnni.h"

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

/// What AVX-VNNI does, which AVX2's multiplication of bytes does not: no sum stops at 16 bits.
struct EmulatedProducts {
  static __m256i bytes(__m256i sum, __m256i codes, __m256i x) {
    std::int32_t total[8];
    std::uint8_t a[32];
    std::int8_t b[32];
    memcpy(total, &sum, sizeof total);
    memcpy(a, &codes, sizeof a);
    memcpy(b, &x, sizeof b);
    for (int i = 0; i < 32; ++i) total[i / 4] += a[i] * b[i];
    memcpy(&sum, total, sizeof sum);
    return sum;
  }
  static __m256i pairs(__m256i sum, __m256i a, __m256i b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
};
using EmulatedRows = kernels::VnniRows256<EmulatedProducts>;

}  // namespace

extern constinit const kernels::PanelProducts kEmulatedVnni512 =
    vnni_products<kernels::VnniRows512>();
extern constinit const kernels::PanelProducts kEmulatedRequantized512 =
    requantized_vnni_products<kernels::VnniRows512>();
extern constinit const kernels::PanelProducts kEmulatedVnni256 = vnni_products<EmulatedRows>();
extern constinit const kernels::PanelProducts kEmulatedRequantized256 =
    requantized_vnni_products<EmulatedRows>();
extern constinit const kernels::PanelProducts kEmulatedExpansion =
    kernels::tile_products_of<EmulatedTiles>();

}  // namespace lq::test
