#include "lib/jobs/weight_scheme.h"

#include <nlohmann/json.hpp>

namespace lq {
namespace {

const std::vector<WeightScheme>& all_schemes() {
  static const std::vector<WeightScheme> kSchemes = {
#define LQ_SCHEME(name, format, number, bits, scales, group, symmetric, activations) \
  {#name, format,    WeightNumber::number,         bits, ScalesOf::scales,           \
   group, symmetric, ActivationScheme::activations},
#include "lib/jobs/weight_schemes.def"
#undef LQ_SCHEME
  };
  return kSchemes;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

/// What the configuration says of weights or activations, every key of the package's version.
struct ArgumentRow {
  const char* type;
  int bits;
  const char* strategy;
  int group_size;  ///< 0: none
  bool dynamic;
  const char* scale_dtype;  ///< null: the model's
};

OrderedJson arguments(const ArgumentRow& row, bool symmetric) {
  OrderedJson json = {{"actorder", nullptr},
                      {"block_structure", nullptr},
                      {"dynamic", row.dynamic},
                      {"group_size", nullptr},
                      {"num_bits", row.bits},
                      {"observer", nullptr},
                      {"observer_kwargs", OrderedJson::object()},
                      {"scale_dtype", nullptr},
                      {"strategy", row.strategy},
                      {"symmetric", symmetric},
                      {"type", row.type},
                      {"zp_dtype", nullptr}};
  if (row.group_size > 0) json["group_size"] = row.group_size;
  if (!row.dynamic) json["observer"] = "memoryless_minmax";
  if (row.scale_dtype) json["scale_dtype"] = row.scale_dtype;
  if (!symmetric) json["zp_dtype"] = "torch.int8";
  return json;
}

OrderedJson weight_arguments(const WeightScheme& scheme) {
  constexpr const char* kStrategies[] = {"tensor", "channel", "group", "block"};
  const bool block = scheme.scales == ScalesOf::block;
  ArgumentRow row{.type = scheme.number == WeightNumber::integer ? "int" : "float",
                  .bits = scheme.bits,
                  .strategy = kStrategies[static_cast<int>(scheme.scales)],
                  .group_size = block ? 0 : scheme.group_size,
                  .dynamic = false,
                  .scale_dtype = nullptr};
  if (scheme.number == WeightNumber::nvfp4) {
    row.strategy = "tensor_group";
    row.scale_dtype = "torch.float8_e4m3fn";
  } else if (scheme.number == WeightNumber::mxfp4 || scheme.number == WeightNumber::mxfp8) {
    row.scale_dtype = "torch.uint8";
  }
  OrderedJson json = arguments(row, scheme.symmetric);
  if (block) json["block_structure"] = {scheme.group_size, scheme.group_size};
  return json;
}

OrderedJson activation_arguments(ActivationScheme activations) {
  switch (activations) {
    case ActivationScheme::none:
      return nullptr;
    case ActivationScheme::int8_token:
      return arguments({"int", 8, "token", 0, true, nullptr}, true);
    case ActivationScheme::fp8_tensor:
      return arguments({"float", 8, "tensor", 0, true, nullptr}, true);
    case ActivationScheme::fp8_token:
      return arguments({"float", 8, "token", 0, true, nullptr}, true);
    case ActivationScheme::fp8_group:
      return arguments({"float", 8, "group", 128, true, nullptr}, true);
    case ActivationScheme::mxfp8_group:
      return arguments({"float", 8, "group", 32, true, "torch.uint8"}, true);
  }
  return nullptr;
}

OrderedJson bitsandbytes_config(const WeightScheme& scheme, const std::vector<std::string>& ignored,
                                DType type) {
  const bool four = scheme.number != WeightNumber::bnb_int8;
  OrderedJson skipped = nullptr;  // the package leaves out lm_head by itself
  if (ignored.size() > 1) skipped = ignored;
  return {{"_load_in_4bit", four},
          {"_load_in_8bit", !four},
          {"bnb_4bit_compute_dtype", four ? torch_name(type) : "float32"},
          {"bnb_4bit_quant_storage", "uint8"},
          {"bnb_4bit_quant_type", scheme.number == WeightNumber::bnb_nf4 ? "nf4" : "fp4"},
          {"bnb_4bit_use_double_quant", false},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", skipped},
          {"llm_int8_threshold", 6.0},
          {"load_in_4bit", four},
          {"load_in_8bit", !four},
          {"quant_method", "bitsandbytes"}};
}

OrderedJson fp8_config(const WeightScheme& scheme, const std::vector<std::string>& ignored) {
  return {{"activation_scheme", "dynamic"},
          {"fmt", "e4m3"},
          {"modules_to_not_convert", ignored},
          {"quant_method", "fp8"},
          {"weight_block_size", {scheme.group_size, scheme.group_size}}};
}

}  // namespace

double WeightScheme::bits_per_weight() const {
  if (scales != ScalesOf::group) return bits;
  const bool bitsandbytes = number == WeightNumber::bnb_nf4 || number == WeightNumber::bnb_fp4;
  const double scale_bits = bitsandbytes ? 32 : number == WeightNumber::integer ? 16 : 8;
  return bits + (scale_bits + (symmetric ? 0 : bits)) / group_size;
}

std::span<const WeightScheme> weight_schemes() { return all_schemes(); }

const WeightScheme* find_weight_scheme(std::string_view name) {
  for (const WeightScheme& scheme : all_schemes())
    if (equals_ignoring_case(scheme.name, name)) return &scheme;
  return nullptr;
}

const char* torch_name(DType type) {
  return type == DType::F16 ? "float16" : type == DType::F32 ? "float32" : "bfloat16";
}

OrderedJson quantization_config(const WeightScheme& scheme, const std::vector<std::string>& ignored,
                                DType type) {
  if (scheme.format == "bitsandbytes") return bitsandbytes_config(scheme, ignored, type);
  if (scheme.format == "fp8") return fp8_config(scheme, ignored);
  const OrderedJson group = {{"format", scheme.format},
                             {"input_activations", activation_arguments(scheme.activations)},
                             {"output_activations", nullptr},
                             {"targets", {"Linear"}},
                             {"weights", weight_arguments(scheme)}};
  return {{"config_groups", {{"group_0", group}}},
          {"format", scheme.format},
          {"global_compression_ratio", nullptr},
          {"ignore", ignored},
          {"kv_cache_scheme", nullptr},
          {"quant_method", "compressed-tensors"},
          {"quantization_status", "compressed"},
          {"sparsity_config", OrderedJson::object()},
          {"transform_config", OrderedJson::object()},
          {"version", "0.19.0"}};
}

}  // namespace lq
