#pragma once
// GGUF in, GGUF in fewer bits out: the plan; write_plan() does the work.
#include "lib/jobs/plan.h"
#include "lib/jobs/quantize_importance.h"
#include "lib/jobs/recipe.h"

namespace lq {

struct QuantizeOptions {
  const Recipe* recipe = nullptr;  ///< null: COPY, every tensor as it is
  TypeWishes wishes;
  bool allow_requantize = false;  ///< from types that have lost bits already
  ImportanceOptions importance = {};
};

/// The name that find_quantize_type() knows besides the recipes'.
inline constexpr const char* kCopyName = "COPY";

/// Recipe of a file type as users write it: null for COPY. Throws Error(usage) for an unknown name,
/// Error(unsupported) for a type without codec; both list what there is.
const Recipe* find_quantize_type(std::string_view name);

/// Decides the type of every tensor, puts the tensors in order and makes the metadata:
/// general.quantization_version and general.file_type at the end, then what is said of importance,
/// nothing of a split. `source` outlives the plan. Throws Error(input | unsupported | usage).
Plan make_quantize_plan(const TensorSource& source, const QuantizeOptions& options);

/// Share of the weights, in percent, that are in tensors which did not get the wanted type.
double fallback_percent(const Plan& plan);

/// Where the result goes when the user does not say: ggml-model-<NAME>.gguf beside the input.
std::filesystem::path default_output(const std::filesystem::path& input, const Recipe* recipe);

}  // namespace lq
