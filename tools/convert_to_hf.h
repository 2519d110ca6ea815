#pragma once
// `lq-convert to-hf`: a GGUF file back to a Hugging Face folder.
#include "tools/cli/tool.h"

namespace lq::tools {

extern const cli::Command kToHfCommand;

}  // namespace lq::tools
