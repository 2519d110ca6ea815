#pragma once
// `lq-quantize MODEL OUTPUT SCHEME`: checkpoints for engines on GPUs, of a folder or a GGUF file.
#include <optional>

#include "lib/jobs/weight_scheme.h"
#include "tools/cli/tool.h"
#include "tools/quantize_importance.h"
#include "tools/quantize_options.h"

namespace lq::tools {

struct CheckpointArguments {
  SchemeChoices choices;
  std::vector<std::string> ignore;
  std::string serve_with;       ///< "vllm:tp=4"; empty: not given
  std::string source_type;      ///< of a GGUF file: "bf16"; empty: not given
  std::uint64_t max_shard = 0;  ///< bytes; 0: not given
};

/// Fills `arguments`, which outlive the parser; so does `app`, which is asked what was given.
void declare_checkpoint(CLI::App& app, CheckpointArguments& arguments);

/// The scheme that TYPE names, if it names one. Throws Error(usage) when options were given that
/// only go with schemes, or only without.
const WeightScheme* scheme_asked_for(const QuantizeArguments& arguments);

/// Plans, measures activations where the scheme wants it, shows, writes.
void quantize_checkpoint(const WeightScheme& scheme, const QuantizeArguments& arguments,
                         const CheckpointArguments& own, const ImportanceArguments& importance,
                         const cli::Context& context);

}  // namespace lq::tools
