// AVX-512 with VNNI: products of 8-bit integers. The rest is avx512's.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/attention_bytes_vnni.h"
#include "kernels/cpu/ops/float_codes_avx512.h"
#include "kernels/cpu/ops/panel_matmul.h"
#include "kernels/cpu/ops/panel_products_vnni.h"
#include "kernels/cpu/ops/peak_loops.h"
#include "kernels/cpu/ops/requantized_vnni.h"
#include "kernels/cpu/ops/vnni_rows_512.h"

namespace lq::kernels {
namespace {

void peak_of_codes_vnni(int rounds) noexcept {
  run_chains(rounds, _mm512_set1_epi8(1),
             [](__m512i sum, __m512i factor) { return _mm512_dpbusd_epi32(sum, factor, factor); });
}

consteval KernelTable make_table() {
  KernelTable table{.name = "avx512_vnni"};
  table.panels = panel_kernels_of<PanelsVnni<VnniRows512>, Floats16>();
  table.panels.requantized =
      requantized_products<RequantizedVnni<VnniRows512>::Multiply>(requantize_avx2);
  table.byte_attention = byte_attention_vnni();
  table.code_peak = {peak_of_codes_vnni, kPeakChains * 2 * 64};
  return table;
}

}  // namespace

extern constinit const KernelTable kAvx512VnniKernels = make_table();

}  // namespace lq::kernels
