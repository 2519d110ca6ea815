#pragma once
// lq-quantize --target-size and --target-bpw.
#include <optional>

#include "lib/jobs/target_size.h"
#include "tools/cli/tool.h"
#include "tools/quantize_options.h"

namespace lq::tools {

struct TargetArguments {
  std::uint64_t bytes = 0;  ///< 0: not given
  double bits_per_weight = 0;
  std::string save;

  bool given() const { return bytes > 0 || bits_per_weight > 0; }
};

void declare_target(CLI::App& app, TargetArguments& arguments);

/// `lq-quantize IN OUT --target-size ...` has no TYPE: takes a last argument that is none as
/// OUTPUT, and chooses the file type whose size is nearest to what `model` would have.
void settle_target_type(const TargetArguments& target, const TensorSource& model,
                        QuantizeArguments& arguments);

/// Throws Error(usage) for options that contradict a target, Error(file) for a bad --save file.
void check_target(const TargetArguments& target, const QuantizeArguments& arguments,
                  const Recipe* recipe, Existing existing,
                  std::span<const std::filesystem::path> inputs);

/// Changes the plan; writes the decisions where they are to be saved. Nothing without a target.
std::optional<SizeFit> fit_target(const TargetArguments& target, const QuantizeArguments& arguments,
                                  Plan& plan, const cli::Context& context);

}  // namespace lq::tools
