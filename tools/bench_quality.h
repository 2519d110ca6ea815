#pragma once
// lq-bench ppl and lq-bench kld.
#include "tools/cli/tool.h"

namespace lq::tools {

extern const cli::Command kBenchPerplexity, kBenchDivergence;

}  // namespace lq::tools
