#include "lib/jobs/quantization_config.h"

#include <nlohmann/json.hpp>

#include "lib/base/build_info.h"

namespace lq {
namespace {

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
  if (scheme.scale_type == ScaleType::f32) row.scale_dtype = "torch.float32";
  OrderedJson json = arguments(row, scheme.symmetric);
  if (block) json["block_structure"] = {scheme.group_size, scheme.group_size};
  return json;
}

OrderedJson measured_arguments(const WeightScheme& scheme) {
  const bool integer = scheme.activations == ActivationScheme::int8_token;
  OrderedJson json = arguments({integer ? "int" : "float", 8, "tensor", 0, false, nullptr}, true);
  json["observer"] = integer ? "minmax" : "static_minmax";
  return json;
}

OrderedJson activation_arguments(const WeightScheme& scheme) {
  if (scheme.measures_inputs() && scheme.activations != ActivationScheme::fp4_group)
    return measured_arguments(scheme);
  switch (scheme.activations) {
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
    case ActivationScheme::fp4_group: {
      OrderedJson json =
          arguments({"float", 4, "tensor_group", 16, true, "torch.float8_e4m3fn"}, true);
      json["dynamic"] = "local";
      json["observer"] = "static_minmax";
      return json;
    }
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
          {"bnb_4bit_use_double_quant", scheme.nested},
          {"llm_int8_enable_fp32_cpu_offload", false},
          {"llm_int8_has_fp16_weight", false},
          {"llm_int8_skip_modules", skipped},
          {"llm_int8_threshold", 6.0},
          {"load_in_4bit", four},
          {"load_in_8bit", !four},
          {"quant_method", "bitsandbytes"}};
}

OrderedJson fp8_config(const WeightScheme& scheme, const std::vector<std::string>& ignored) {
  const char* fmt = scheme.number == WeightNumber::e5m2 ? "e5m2" : "e4m3";
  if (scheme.scales == ScalesOf::tensor)
    return {{"activation_scheme", scheme.measures_inputs() ? "static" : "dynamic"},
            {"fmt", fmt},
            {"ignored_layers", ignored},
            {"quant_method", "fp8"}};
  return {{"activation_scheme", "dynamic"},
          {"fmt", fmt},
          {"modules_to_not_convert", ignored},
          {"quant_method", "fp8"},
          {"weight_block_size", {scheme.group_size, scheme.group_size}}};
}

/// --ignore as GPTQ's loaders read it: rules for single modules, as regular expressions.
OrderedJson gptq_rules(const std::vector<std::string>& ignored) {
  OrderedJson rules = OrderedJson::object();
  for (const std::string& module : ignored) {
    if (module == "lm_head") continue;  // has a key of its own
    std::string pattern;
    for (const char c : module) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '_' || (c & 0x80) != 0;
      pattern += plain ? std::string(1, c) : std::string("\\") + c;
    }
    rules["-:^" + pattern + "$"] = OrderedJson::object();
  }
  return rules;
}

int group_size_of(const WeightScheme& scheme) {
  return scheme.scales == ScalesOf::channel ? -1 : scheme.group_size;
}

OrderedJson gptq_config(const WeightScheme& scheme, const std::vector<std::string>& ignored) {
  OrderedJson config = {{"bits", scheme.bits},
                        {"checkpoint_format", scheme.format},
                        {"desc_act", false},
                        {"format", scheme.format},
                        {"group_size", group_size_of(scheme)},
                        {"lm_head", false},
                        {"meta", {{"quantizer", {std::string("lq:") + build_info().version}}}},
                        {"method", "gptq"},
                        {"pack_dtype", "int32"},
                        {"quant_method", "gptq"},
                        {"sym", scheme.symmetric}};
  if (const OrderedJson rules = gptq_rules(ignored); !rules.empty()) config["dynamic"] = rules;
  return config;
}

OrderedJson awq_config(const WeightScheme& scheme, const std::vector<std::string>& ignored) {
  OrderedJson kept = nullptr;  // the package leaves out lm_head by itself
  if (ignored.size() > 1) kept = ignored;
  return {{"bits", scheme.bits},
          {"group_size", group_size_of(scheme)},
          {"modules_to_not_convert", kept},
          {"quant_method", "awq"},
          {"version", "gemm"},
          {"zero_point", true}};
}

/// The producer's name is what engines look for.
OrderedJson modelopt_config(const WeightScheme& scheme, const std::vector<std::string>& ignored) {
  return {
      {"producer", {{"name", "modelopt"}, {"version", std::string("lq ") + build_info().version}}},
      {"quantization",
       {{"quant_algo", "W4A16_AWQ"},
        {"kv_cache_quant_algo", nullptr},
        {"group_size", scheme.group_size},
        {"has_zero_point", false},
        {"pre_quant_scale", true},
        {"exclude_modules", ignored}}}};
}

OrderedJson compressed_tensors_config(const WeightScheme& scheme,
                                      const std::vector<std::string>& ignored) {
  const OrderedJson group = {{"format", scheme.format},
                             {"input_activations", activation_arguments(scheme)},
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

}  // namespace

const char* torch_name(DType type) {
  return type == DType::F16 ? "float16" : type == DType::F32 ? "float32" : "bfloat16";
}

OrderedJson quantization_config(const WeightScheme& scheme, const std::vector<std::string>& ignored,
                                DType type) {
  switch (scheme.layout) {
    case WeightLayout::bitsandbytes:
      return bitsandbytes_config(scheme, ignored, type);
    case WeightLayout::fp8:
      return fp8_config(scheme, ignored);
    case WeightLayout::gptq:
    case WeightLayout::gptq_v2:
      return gptq_config(scheme, ignored);
    case WeightLayout::awq:
      return awq_config(scheme, ignored);
    case WeightLayout::modelopt:
      return nullptr;
    default:
      return compressed_tensors_config(scheme, ignored);
  }
}

std::vector<ConfigFile> quantization_files(const WeightScheme& scheme,
                                           const std::vector<std::string>& ignored) {
  if (scheme.layout == WeightLayout::modelopt)
    return {{"hf_quant_config.json", modelopt_config(scheme, ignored).dump(2) + "\n"}};
  if (scheme.layout == WeightLayout::gptq || scheme.layout == WeightLayout::gptq_v2)
    return {{"quantize_config.json", gptq_config(scheme, ignored).dump(2) + "\n"}};
  return {};
}

}  // namespace lq
