#pragma once
// What a tool says about itself: `--version` and `--generate`.
#include <string>
#include <string_view>

#include "tools/cli/tool.h"

namespace lq::cli {

/// The version, how it was built, the CPU kernels built and chosen. Throws Error(usage) when
/// LQ_CPU_ISA names none that works here.
std::string version_text(const Tool& tool);

/// The file that is committed for `what`: man, bash, zsh or fish; or `examples`: the commands of
/// the examples, a line each, after each was parsed.
std::string generate(const Tool& tool, std::string_view what);

}  // namespace lq::cli
