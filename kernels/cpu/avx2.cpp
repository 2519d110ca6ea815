// AVX2 with FMA and F16C.
#include "kernels/cpu/kernel_table.h"

namespace lq::kernels {
extern constinit const KernelTable kAvx2Kernels{.name = "avx2"};
}  // namespace lq::kernels
