// AVX-VNNI: products of 8-bit integers on processors without AVX-512. The rest is avx2's.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/float_codes_avx2.h"
#include "kernels/cpu/ops/floats_avx2.h"
#include "kernels/cpu/ops/panel_matmul.h"
#include "kernels/cpu/ops/panel_products_vnni.h"
#include "kernels/cpu/ops/peak_loops.h"
#include "kernels/cpu/ops/requantized_vnni.h"
#include "kernels/cpu/ops/vnni_rows_256.h"

namespace lq::kernels {
namespace {

struct AvxVnni {
  static __m256i bytes(__m256i sum, __m256i codes, __m256i x) {
    return _mm256_dpbusd_avx_epi32(sum, codes, x);
  }
  static __m256i pairs(__m256i sum, __m256i a, __m256i b) {
    return _mm256_dpwssd_avx_epi32(sum, a, b);
  }
};
using Rows = VnniRows256<AvxVnni>;

void peak_of_codes_avx_vnni(int rounds) noexcept {
  run_chains(rounds, _mm256_set1_epi8(1),
             [](__m256i sum, __m256i factor) { return AvxVnni::bytes(sum, factor, factor); });
}

consteval KernelTable make_table() {
  KernelTable table{.name = "avx_vnni"};
  table.panels = panel_kernels_of<PanelsVnni<Rows>, Floats8>();
  table.panels.requantized = requantized_products<RequantizedVnni<Rows>::Multiply>(requantize_avx2);
  table.code_peak = {peak_of_codes_avx_vnni, kPeakChains * 2 * 32};
  return table;
}

}  // namespace

extern constinit const KernelTable kAvxVnniKernels = make_table();

}  // namespace lq::kernels
