// AVX-512 (F, BW, DQ, VL): 16 floats at a time in attention and where encoders search. The rest is
// avx2's.
#include <math.h>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/attention_lanes.h"
#include "kernels/cpu/ops/encode_table.h"
#include "kernels/cpu/ops/floats_avx512.h"
#include "kernels/cpu/ops/lanes_avx512.h"

namespace lq::kernels {
namespace {

consteval KernelTable make_table() {
  KernelTable table{.name = "avx512"};
  set_searching_encoders<LanesAvx512>(table);
  set_attention<Floats16>(table);
  return table;
}

}  // namespace

extern constinit const KernelTable kAvx512Kernels = make_table();

}  // namespace lq::kernels
