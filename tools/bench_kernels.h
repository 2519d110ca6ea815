#pragma once
// lq-bench kernels.
#include "tools/cli/tool.h"

namespace lq::tools {

extern const cli::Command kBenchKernels;

}  // namespace lq::tools
