#pragma once
// Which instruction set's kernels the process uses.
#include <string_view>

#include "kernels/cpu/kernel_table.h"

namespace lq {

/// The set named `isa`; empty: $LQ_CPU_ISA, or the best that this machine has. Throws Error(usage)
/// with the list of sets for an unknown name or a set that this machine does not have.
const kernels::KernelTable& choose_cpu_kernels(std::string_view isa = {});

}  // namespace lq
