#include "lib/jobs/quantize.h"

#include <algorithm>
#include <numeric>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/gguf_layout.h"
#include "lib/jobs/overrides.h"
#include "lib/jobs/prune.h"

namespace lq {
namespace {

std::string listing() {
  std::string text;
  for (const std::string& name : usable_recipe_names()) text += name + ", ";
  return text + kCopyName;
}

bool is_copy_name(std::string_view name) {
  return std::equal(name.begin(), name.end(), kCopyName, kCopyName + 4,
                    [](char a, char b) { return (a & ~0x20) == b; });
}

Metadata output_metadata(const TensorSource& source, const Recipe* recipe) {
  Metadata metadata = source.metadata();
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) metadata.remove(key);
  metadata.move_to_end(kQuantizationVersionKey, Value::of_u32(kQuantizationVersion));
  const Value* was = metadata.find("general.file_type");
  if (recipe)
    metadata.move_to_end("general.file_type", Value::of_u32(recipe->file_type));
  else if (was)  // a copy is what it was
    metadata.move_to_end("general.file_type", Value(*was));
  return metadata;
}

void check_conversion(const TensorSource& source, const TensorInfo& from, DType to,
                      bool allow_requantize) {
  if (from.type == to) return;
  for (const DType type : {from.type, to})
    if (!traits(type).has_codec())
      fail(ErrorKind::unsupported, source.name(), ": tensor ", quote(from.name), ": ",
           traits(from.type).name, " cannot be turned into ", traits(to).name, "; ",
           traits(type).name, " can only be copied");
  if (traits(from.type).values > 1 && !allow_requantize)
    fail(ErrorKind::unsupported, source.name(), ": tensor ", quote(from.name), " is ",
         traits(from.type).name, " and would become ", traits(to).name,
         ", which loses more than starting from 16 or 32 bits; --allow-requantize does it");
}

/// The tensors that are written, in their order.
struct Selection {
  std::vector<TensorInfo> tensors;    ///< with their new names
  std::vector<TensorInfo> originals;  ///< with those of the source
  std::vector<std::size_t> indices;   ///< of each, in the source
};

Selection select_tensors(const TensorSource& source, const PrunedLayers& layers, bool keep_order) {
  std::vector<std::size_t> order(source.tensors().size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (!keep_order) order = quantized_order(source.tensors());
  Selection selected;
  for (const std::size_t i : order) {
    TensorInfo tensor = source.tensors()[i];
    tensor.name = layers.renamed(tensor.name);
    if (tensor.name.empty()) continue;
    selected.tensors.push_back(std::move(tensor));
    selected.originals.push_back(source.tensors()[i]);
    selected.indices.push_back(i);
  }
  return selected;
}

}  // namespace

const Recipe* find_quantize_type(std::string_view name) {
  if (is_copy_name(name)) return nullptr;
  const Recipe* recipe = find_recipe(name);
  if (!recipe) fail(ErrorKind::usage, "unknown type ", quote(name), "; types are ", listing());
  if (!has_codecs(*recipe))
    fail(ErrorKind::unsupported, "type ", recipe->name, " is not supported; types are ", listing());
  return recipe;
}

Plan make_quantize_plan(const TensorSource& source, const QuantizeOptions& options) {
  const PrunedLayers layers(options.prune_layers, source.tensors());
  const Selection selected = select_tensors(source, layers, options.keep_split);
  ImportanceUse importance(options.importance);
  Plan plan;
  plan.n_parts = options.keep_split ? 1 : 0;
  plan.metadata = output_metadata(source, options.recipe);
  apply_overrides(plan.metadata, options.overrides);
  std::vector<TypeDecision> decisions;
  std::vector<ColumnWeights> weights(selected.tensors.size());
  if (options.recipe) {
    RecipeFacts facts = RecipeFacts::parse(plan.metadata);
    facts.importance = importance.any();
    decisions = choose_types(*options.recipe, facts, options.wishes, selected.tensors);
    weights = importance.assign(*options.recipe, selected.originals, decisions);
    importance.check_names(source.tensors());
  } else {
    for (const TensorInfo& tensor : selected.tensors)
      decisions.push_back({tensor.type, tensor.type, "copy"});
  }
  plan.warnings = importance.warnings();
  importance.describe(plan.metadata);
  layers.apply(plan.metadata);
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    const TensorInfo& tensor = selected.tensors[i];
    check_conversion(source, tensor, decisions[i].type, options.allow_requantize);
    PlannedTensor planned;
    planned.output = {tensor.name, decisions[i].type, trimmed_shape(tensor.shape)};
    planned.wanted_type = decisions[i].wanted;
    planned.reason = decisions[i].reason;
    planned.source = &source;
    planned.source_index = selected.indices[i];
    planned.importance = std::move(weights[i]);
    planned.file = options.keep_split ? source.file_index(planned.source_index) : 0;
    if (options.keep_split) plan.n_parts = std::max(plan.n_parts, planned.file + 1);
    plan.tensors.push_back(std::move(planned));
  }
  return plan;
}

double fallback_percent(const Plan& plan) {
  double weights = 0, fallen = 0;
  for (const PlannedTensor& tensor : plan.tensors) {
    const auto n = static_cast<double>(tensor.output.elements());
    weights += n;
    if (tensor.output.type != tensor.wanted_type) fallen += n;
  }
  return weights > 0 ? 100 * fallen / weights : 0;
}

std::filesystem::path default_output(const std::filesystem::path& input, const Recipe* recipe) {
  return input.parent_path() /
         ("ggml-model-" + std::string(recipe ? recipe->name : kCopyName) + ".gguf");
}

}  // namespace lq
