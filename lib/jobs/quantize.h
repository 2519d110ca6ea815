#pragma once
// GGUF in, GGUF in fewer bits out: the plan; write_plan() does the work.
#include "lib/jobs/plan.h"
#include "lib/jobs/quantize_importance.h"
#include "lib/jobs/recipe.h"

namespace lq {

struct QuantizeOptions {
  const Recipe* recipe = nullptr;  ///< null: COPY, every tensor as it is
  TypeWishes wishes;
  bool allow_requantize = false;                ///< from types that have lost bits already
  bool keep_split = false;                      ///< a file for each of the source's, in its order
  std::vector<int> prune_layers = {};           ///< layers that are left out
  std::vector<Metadata::Entry> overrides = {};  ///< keys that the user gives
  ImportanceOptions importance = {};
};

/// The name that find_quantize_type() knows besides the recipes'.
inline constexpr const char* kCopyName = "COPY";

/// Recipe of a file type as users write it: null for COPY. Throws Error(usage) for an unknown name,
/// Error(unsupported) for a type without codec; both list what there is.
const Recipe* find_quantize_type(std::string_view name);

/// Decides the type of every tensor, puts the tensors in order and makes the metadata: at the end
/// general.quantization_version, general.file_type, what the user gives, what is said of importance
/// and, when layers are left out, their number. Rules that ask for the number of layers get that of
/// the source. `source` outlives the plan. Throws Error(input | unsupported | usage).
Plan make_quantize_plan(const TensorSource& source, const QuantizeOptions& options);

/// Share of the weights, in percent, that are in tensors which did not get the wanted type.
double fallback_percent(const Plan& plan);

/// Where the result goes when the user does not say: ggml-model-<NAME>.gguf beside the input.
std::filesystem::path default_output(const std::filesystem::path& input, const Recipe* recipe);

}  // namespace lq
