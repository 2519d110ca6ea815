#include "lib/jobs/checkpoint.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr std::string_view kWeightSuffix = ".weight";

bool is_weight(const TensorInfo& tensor) {
  return tensor.shape.size() == 2 && tensor.name.ends_with(kWeightSuffix);
}

std::string module_of(const TensorInfo& tensor) {
  return tensor.name.substr(0, tensor.name.size() - kWeightSuffix.size());
}

/// Matrices that are no Linear, or one that engines want as it is: why. Empty for the others.
const char* kept_because(const std::string& module) {
  if (module.find("embed") != std::string::npos) return "an embedding";
  if (module.starts_with("lm_head")) return "the output";
  if (module.ends_with(".gate") || module.ends_with("shared_expert_gate")) return "a router";
  return "";
}

struct Ignored {
  std::string pattern;
  std::regex regex;
  bool used = false;
};

std::vector<Ignored> compile_patterns(const std::vector<std::string>& patterns) {
  std::vector<Ignored> compiled;
  for (const std::string& pattern : patterns) {
    try {
      compiled.push_back({pattern, std::regex(pattern, std::regex::ECMAScript)});
    } catch (const std::regex_error& error) {
      fail(ErrorKind::usage, "--ignore ", quote(pattern),
           " is not a regular expression: ", error.what());
    }
  }
  return compiled;
}

/// Modules that engines run as one, by the last part of their names.
constexpr std::array<std::array<std::string_view, 3>, 3> kFusedSets = {
    {{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj", ""}, {"w1", "w3", ""}}};

void find_fused(std::vector<PlannedModule>& modules) {
  std::map<std::string, std::size_t> by_name;
  for (std::size_t i = 0; i < modules.size(); ++i)
    if (modules[i].linear) by_name[modules[i].linear->module] = i;
  for (const auto& [name, at] : by_name) {
    modules[at].fused = {at};
    const std::size_t dot = name.rfind('.') + 1;
    for (const auto& set : kFusedSets) {
      if (std::find(set.begin(), set.end(), name.substr(dot)) == set.end()) continue;
      for (const std::string_view other : set)
        if (const auto found = by_name.find(name.substr(0, dot) + std::string(other));
            found != by_name.end() && found->second != at)
          modules[at].fused.push_back(found->second);
    }
  }
}

/// Files that quantized models have beside config.json.
constexpr const char* kQuantizationFiles[] = {"quantize_config.json", "hf_quant_config.json",
                                              "quant_config.json"};

OrderedJson original_config(const HfModel& source) {
  const std::string file = source.name + ": config.json";
  OrderedJson config = parse_ordered_json(source.config, file);
  if (!config.is_object()) fail(ErrorKind::input, file, ": is not a JSON object");
  for (const char* key : {"quantization_config", "compression_config"})
    if (config.contains(key))
      fail(ErrorKind::unsupported, file, ": has ", key,
           ": the model is quantized already; start from the original one");
  for (const std::filesystem::path& file_there : source.copied)
    for (const char* name : kQuantizationFiles)
      if (file_there.filename() == name)
        fail(ErrorKind::unsupported, file_there.string(),
             ": says that the model is quantized already; start from the original one");
  return config;
}

DType model_type(const CheckpointPlan& plan) {
  for (const PlannedModule& module : plan.modules)
    if (module.linear) return module.linear->type;
  return DType::BF16;
}

std::vector<std::uint64_t> outer_first(std::vector<std::uint64_t> shape) {
  std::reverse(shape.begin(), shape.end());
  return shape;
}

/// The entries that a module becomes.
std::vector<SafetensorsEntry> entries_of(const CheckpointPlan& plan, const PlannedModule& module) {
  const HfModel::Tensor& source = plan.source->tensors[module.source_index];
  const TensorInfo& tensor = source.made.output;
  std::vector<SafetensorsEntry> entries;
  for (const LinearPart& part : module.parts)
    entries.push_back(
        {module.linear->module + "." + part.suffix, part.storage, part.shape, part.bytes});
  if (module.linear) return entries;
  if (module.as_half)
    entries.push_back(
        {tensor.name, "F16", outer_first(tensor.shape), tensor.elements() * sizeof(std::uint16_t)});
  else
    entries.push_back({tensor.name, source.stored_as, outer_first(tensor.shape), source.bytes});
  return entries;
}

/// What becomes of a tensor; `plan.ignored` gets what is a Linear and stays.
PlannedModule plan_module(CheckpointPlan& plan, std::size_t index, std::vector<Ignored>& patterns) {
  const HfModel::Tensor& source = plan.source->tensors[index];
  const TensorInfo& tensor = source.made.output;
  PlannedModule module{.source_index = index};
  const std::string name = is_weight(tensor) ? module_of(tensor) : tensor.name;
  const DType type = source.foreign ? DType::I8 : tensor.type;
  const bool is_float = type == DType::F32 || type == DType::F16 || type == DType::BF16;
  module.as_half = traits(plan.scheme.layout).others == OtherTensors::f16 && is_float;
  if (tensor.shape.size() > 2 && name.find("experts") != std::string::npos)
    fail(ErrorKind::unsupported, source.file.string(), ": tensor ", quote(name), " ",
         shape_text(tensor.shape), " holds several experts; schemes need a tensor for each");
  if (!is_weight(tensor)) {
    module.reason = "not a matrix";
    return module;
  }
  if (const std::string kept = kept_because(name); !kept.empty()) {
    module.reason = kept;
    if (kept == "a router") plan.ignored.push_back(name);
    return module;
  }
  for (Ignored& one : patterns) {
    if (!std::regex_search(name, one.regex)) continue;
    one.used = true;
    module.reason = "--ignore " + one.pattern;
    plan.ignored.push_back(name);
    return module;
  }
  if (!is_float)
    fail(ErrorKind::unsupported, source.file.string(), ": tensor ", quote(tensor.name),
         " is stored as ", source.stored_as, "; expected F32, F16 or BF16");
  module.linear = Linear{name, tensor.rows(), tensor.row_length(), type};
  return module;
}

/// What to do about a matrix that the scheme cannot hold.
std::string remedy(const WeightScheme& scheme, const Linear& linear) {
  WeightScheme other = scheme;
  const bool groups = scheme.number == WeightNumber::integer && scheme.scales == ScalesOf::group;
  for (const int size : {128, 64, 32}) {
    other.group_size = size;
    if (groups && LinearEncoder(other, choose_cpu_kernels()).refuses(linear).empty())
      return "use --group-size " + std::to_string(size) + ", or --ignore '" + linear.module + "'";
  }
  return "leave it as it is with --ignore '" + linear.module +
         "', or use another scheme or --format";
}

/// After the fused ones are known, which some layouts store differently.
void plan_parts(CheckpointPlan& plan) {
  const LinearEncoder encoder(plan.scheme, choose_cpu_kernels());
  for (PlannedModule& module : plan.modules) {
    if (!module.linear) continue;
    module.linear->fused = module.fused.size() > 1;
    if (const std::string why = encoder.refuses(*module.linear); !why.empty())
      fail(ErrorKind::unsupported, plan.source->tensors[module.source_index].file.string(),
           ": tensor ", quote(plan.source->info(module.source_index).name), ": ", why, "; ",
           remedy(plan.scheme, *module.linear));
    module.parts = encoder.parts(*module.linear);
  }
}

}  // namespace

std::vector<std::string> CheckpointPlan::file_names() const {
  if (files.size() == 1) return {"model.safetensors"};
  std::vector<std::string> names;
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::ostringstream name;
    name << "model-" << std::setfill('0') << std::setw(5) << i + 1 << "-of-" << std::setw(5)
         << files.size() << ".safetensors";
    names.push_back(name.str());
  }
  return names;
}

std::uint64_t CheckpointPlan::total_bytes() const {
  std::uint64_t total = 0;
  for (const auto& entries : files)
    for (const SafetensorsEntry& entry : entries) total += entry.bytes;
  return total;
}

double CheckpointPlan::bits_per_weight() const {
  double bits = 0, weights = 0;
  for (const PlannedModule& module : modules) {
    for (const LinearPart& part : module.parts) bits += 8 * static_cast<double>(part.bytes);
    if (module.linear)
      weights +=
          static_cast<double>(module.linear->rows) * static_cast<double>(module.linear->cols);
  }
  return weights > 0 ? bits / weights : 0;
}

std::size_t CheckpointPlan::n_quantized() const {
  return static_cast<std::size_t>(std::count_if(
      modules.begin(), modules.end(), [](const PlannedModule& m) { return m.linear.has_value(); }));
}

void CheckpointPlan::fill_files() {
  files.clear();
  std::uint64_t size = 0;
  for (PlannedModule& module : modules) {
    std::vector<SafetensorsEntry> entries = entries_of(*this, module);
    std::uint64_t bytes = 0;
    for (const SafetensorsEntry& entry : entries) bytes += entry.bytes;
    if (files.empty() || (size > 0 && bytes > max_shard_bytes - std::min(max_shard_bytes, size))) {
      files.emplace_back();
      size = 0;
    }
    size += bytes;
    module.file = files.size() - 1;
    module.first_entry = files.back().size();
    for (SafetensorsEntry& entry : entries) files.back().push_back(std::move(entry));
  }
}

CheckpointPlan make_checkpoint_plan(const HfModel& source, const CheckpointOptions& options) {
  CheckpointPlan plan{.source = &source, .scheme = options.scheme};
  plan.max_shard_bytes = options.max_shard_bytes;
  OrderedJson config = original_config(source);
  std::vector<Ignored> patterns = compile_patterns(options.ignore);
  for (std::size_t i = 0; i < source.tensors.size(); ++i)
    plan.modules.push_back(plan_module(plan, i, patterns));
  for (const Ignored& one : patterns)
    if (!one.used)
      fail(ErrorKind::usage, "--ignore ", quote(one.pattern), " matches no matrix of the model");
  if (plan.n_quantized() == 0)
    fail(ErrorKind::unsupported, source.name, ": has no matrix that could be quantized");
  plan.ignored.push_back("lm_head");  // also where it is the embedding: engines look for the name
  find_fused(plan.modules);
  plan_parts(plan);
  plan.fill_files();
  const OrderedJson quantization = quantization_config(plan.scheme, plan.ignored, model_type(plan));
  if (!quantization.is_null()) config["quantization_config"] = quantization;
  if (traits(plan.scheme.layout).others == OtherTensors::f16)
    for (const char* key : {"dtype", "torch_dtype"})
      if (config.contains(key)) config[key] = "float16";
  plan.config = config.dump(2) + "\n";
  plan.config_files = quantization_files(plan.scheme, plan.ignored);
  return plan;
}

CheckpointPlan make_folder_plan(const HfModel& source, std::uint64_t max_shard_bytes) {
  CheckpointPlan plan{.source = &source};
  plan.max_shard_bytes = max_shard_bytes;
  for (std::size_t i = 0; i < source.tensors.size(); ++i)
    plan.modules.push_back({.source_index = i, .reason = "copied"});
  plan.fill_files();
  plan.config = source.config;
  return plan;
}

std::string checkpoint_text(const CheckpointPlan& plan) {
  std::ostringstream out;
  std::size_t width = 6;
  for (const PlannedModule& module : plan.modules)
    width = std::max(width, quote_unless_plain(plan.source->info(module.source_index).name).size());
  for (const PlannedModule& module : plan.modules) {
    const TensorInfo& tensor = plan.source->info(module.source_index);
    out << std::left << std::setw(static_cast<int>(width)) << quote_unless_plain(tensor.name)
        << "  " << shape_text(outer_first(tensor.shape)) << "  "
        << plan.source->tensors[module.source_index].stored_as << "  ";
    if (module.linear)
      out << plan.scheme.name << '\n';
    else
      out << (module.as_half ? "copied as F16: " : "copied: ") << module.reason << '\n';
  }
  out << plan.n_quantized() << " of " << plan.modules.size() << " tensors are quantized, "
      << std::fixed << std::setprecision(3) << plan.bits_per_weight() << " bits per weight; "
      << plan.total_bytes() << " bytes in " << plan.files.size()
      << (plan.files.size() == 1 ? " file\n" : " files\n");
  return out.str();
}

OrderedJson checkpoint_json(const CheckpointPlan& plan, const std::filesystem::path& output) {
  OrderedJson tensors = OrderedJson::array();
  for (const PlannedModule& module : plan.modules) {
    const TensorInfo& tensor = plan.source->info(module.source_index);
    OrderedJson row = {{"name", tensor.name},
                       {"shape", outer_first(tensor.shape)},
                       {"source_type", plan.source->tensors[module.source_index].stored_as},
                       {"scheme", nullptr},
                       {"reason", nullptr}};
    if (module.linear)
      row["scheme"] = plan.scheme.name;
    else
      row["reason"] = module.reason;
    tensors.push_back(std::move(row));
  }
  return {{"output", output.string()},
          {"format", plan.scheme.format},
          {"files", plan.file_names()},
          {"total_bytes", plan.total_bytes()},
          {"bits_per_weight", plan.bits_per_weight()},
          {"quantized", plan.n_quantized()},
          {"tensors", std::move(tensors)}};
}

}  // namespace lq
