#include "lib/backend/cpu_kernels.h"

#include <cstdlib>
#include <string>

#include "lib/base/error.h"

namespace lq {
namespace {

std::string supported_sets() {
  std::string names;
  for (const kernels::KernelSet& set : kernels::kernel_sets())
    if (set.supported) names += (names.empty() ? "" : ", ") + std::string(set.table->name);
  return names;
}

}  // namespace

const kernels::KernelTable& choose_cpu_kernels(std::string_view isa) {
  const char* const forced = std::getenv("LQ_CPU_ISA");
  if (isa.empty() && forced) isa = forced;
  const kernels::KernelTable* table = kernels::kernel_table(isa);
  if (!table)
    fail(ErrorKind::usage, "instruction set '", isa,
         "' is unknown or this machine does not have it; available: ", supported_sets());
  return *table;
}

}  // namespace lq
