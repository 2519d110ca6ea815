// AVX-512 with VNNI: products of 8-bit integers. The rest is avx512's.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/float_codes_avx512.h"
#include "kernels/cpu/ops/panel_matmul.h"
#include "kernels/cpu/ops/panel_products_vnni.h"

namespace lq::kernels {
namespace {

consteval KernelTable make_table() {
  KernelTable table{.name = "avx512_vnni"};
  table.panels = panel_kernels_of<PanelsVnni, Floats16>();
  return table;
}

}  // namespace

extern constinit const KernelTable kAvx512VnniKernels = make_table();

}  // namespace lq::kernels
