#include "lib/jobs/quantize.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr std::uint32_t kQuantizationVersion = 2;

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
  metadata.move_to_end("general.quantization_version", Value::of_u32(kQuantizationVersion));
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
  std::vector<TensorInfo> sorted;
  const std::vector<std::size_t> order = quantized_order(source.tensors());
  for (const std::size_t i : order) sorted.push_back(source.tensors()[i]);
  ImportanceUse importance(options.importance);
  std::vector<TypeDecision> decisions;
  std::vector<ColumnWeights> weights(sorted.size());
  if (options.recipe) {
    RecipeFacts facts = RecipeFacts::parse(source.metadata());
    facts.importance = importance.any();
    decisions = choose_types(*options.recipe, facts, options.wishes, sorted);
    weights = importance.assign(*options.recipe, sorted, decisions);
  } else {
    for (const TensorInfo& tensor : sorted) decisions.push_back({tensor.type, tensor.type, "copy"});
  }
  Plan plan{.metadata = output_metadata(source, options.recipe),
            .tensors = {},
            .warnings = importance.warnings()};
  importance.describe(plan.metadata);
  for (std::size_t i = 0; i < order.size(); ++i) {
    check_conversion(source, sorted[i], decisions[i].type, options.allow_requantize);
    PlannedTensor planned;
    planned.output = {sorted[i].name, decisions[i].type, trimmed_shape(sorted[i].shape)};
    planned.wanted_type = decisions[i].wanted;
    planned.reason = decisions[i].reason;
    planned.source = &source;
    planned.source_index = order[i];
    planned.importance = std::move(weights[i]);
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
