#include "lib/jobs/stored_scheme.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/stored_scheme_parser.h"

namespace lq {
namespace {

constexpr std::int64_t kMostGroup = 1 << 24;
constexpr const char* kMethods[] = {"compressed-tensors", "fp8",     "gptq", "awq",
                                    "bitsandbytes",       "modelopt"};

/// Columns a group; nothing for a group of all (-1).
std::optional<int> group_size_in(const JsonObject& config, const char* key) {
  const auto size = config.integer(key, -1, kMostGroup);
  if (size == 0)
    fail(ErrorKind::input, config.where(), ": ", key,
         " is 0; expected a number of columns, or -1 for all");
  if (!size || *size < 0) return std::nullopt;
  return static_cast<int>(*size);
}

void set_groups(WeightScheme& scheme, std::optional<int> size) {
  scheme.scales = size ? ScalesOf::group : ScalesOf::channel;
  scheme.group_size = size.value_or(0);
}

bool same_scheme(const StoredScheme& a, const StoredScheme& b) {
  return a.scheme.number == b.scheme.number && a.scheme.bits == b.scheme.bits &&
         a.scheme.scales == b.scheme.scales && a.scheme.group_size == b.scheme.group_size &&
         a.scheme.symmetric == b.scheme.symmetric && a.scheme.format == b.scheme.format &&
         a.scheme.activations == b.scheme.activations && a.block_rows == b.block_rows &&
         a.block_cols == b.block_cols && a.static_activations == b.static_activations;
}

}  // namespace

std::span<const char* const> quantization_methods() { return kMethods; }

std::string text_of(const StoredScheme& stored) {
  const WeightScheme& scheme = stored.scheme;
  if (scheme.layout == WeightLayout::bitsandbytes)
    return scheme.bits == 4 ? "4-bit codes, blocks of values" : "8-bit integers, a scale a row";
  constexpr const char* kNumbers[] = {"integers", "E4M3", "E5M2", "NVFP4",         "MXFP4",
                                      "MXFP8",    "NF4",  "FP4",  "8-bit integers"};
  std::string text = kNumbers[static_cast<int>(scheme.number)];
  if (scheme.number == WeightNumber::integer) {
    text = std::to_string(scheme.bits) + "-bit " + text;
    if (!scheme.symmetric) text += " with zero points";
  }
  switch (scheme.scales) {
    case ScalesOf::tensor:
      return text + ", a scale a tensor";
    case ScalesOf::channel:
      return text + ", a scale a row";
    case ScalesOf::group:
      return text + ", groups of " + std::to_string(scheme.group_size);
    case ScalesOf::block:
      return text + ", blocks of " + std::to_string(stored.block_rows) + " x " +
             std::to_string(stored.block_cols);
  }
  return text;
}

std::string StoredSchemes::text() const {
  std::string text;
  for (const auto* list : {&groups_, &rules_})
    for (const Group& group : *list) {
      if (!group.stored) continue;
      const std::string one = text_of(*group.stored);
      if (text.find(one) == std::string::npos) text += (text.empty() ? "" : "; ") + one;
    }
  return method_ + ": " + (text.empty() ? "nothing is quantized" : text);
}

const StoredScheme* StoredSchemes::find(const std::string& module) const {
  const auto named = [&](const Group& group) {
    return std::find(group.names.begin(), group.names.end(), module) != group.names.end();
  };
  const auto matched = [&](const Group& group) {
    return std::any_of(group.patterns.begin(), group.patterns.end(),
                       [&](const ModulePattern& pattern) { return pattern.matches(module); });
  };
  const auto scheme_of = [](const Group& group) { return group.stored ? &*group.stored : nullptr; };
  if (named(ignored_) || matched(ignored_)) return nullptr;
  const Group* rule = nullptr;
  for (const Group& one : rules_) {
    if (!named(one) && !matched(one)) continue;
    const StoredScheme *a = rule ? scheme_of(*rule) : nullptr, *b = scheme_of(one);
    if (rule && (!a != !b || (a && b && !same_scheme(*a, *b))))
      fail(ErrorKind::unsupported, where_, ": several rules match ", quote(module),
           " and differ in what they say");
    rule = &one;
  }
  if (rule) return scheme_of(*rule);
  for (const Group& group : groups_)
    if (named(group)) return scheme_of(group);
  for (const Group& group : groups_)
    if (matched(group)) return scheme_of(group);
  for (const Group& group : groups_)
    if (group.all) return scheme_of(group);
  return nullptr;
}

template <class... Parts>
void StoredSchemeParser::refuse(const Parts&... parts) const {
  fail(ErrorKind::unsupported, schemes_.where_, ": ", parts...);
}

void StoredSchemeParser::for_all(StoredScheme stored) {
  stored.scheme.layout = schemes_.layout_;
  schemes_.groups_.push_back({.stored = std::move(stored), .all = true});
}

void StoredSchemeParser::add_targets(const JsonObject& object, const char* key,
                                     StoredSchemes::Group& group) {
  constexpr std::string_view kPattern = "re:";
  const Json* list = object.list(key);
  if (!list) return;
  for (const Json& entry : *list) {
    if (!entry.is_string())
      fail(ErrorKind::input, object.where(), ": ", key,
           " holds something that is no text; expected names of modules");
    const auto& text = entry.get_ref<const std::string&>();
    if (text.starts_with(kPattern))
      group.patterns.emplace_back(text.substr(kPattern.size()), object.where() + ": " + key);
    else if (text == "Linear")
      group.all = true;
    else
      group.names.push_back(text);
  }
}

StoredSchemes StoredSchemeParser::parse(const JsonObject& config) {
  std::string supported;
  for (const char* name : kMethods)
    supported += (supported.empty() ? "" : ", ") + std::string(name);
  supported += "; convert the original model";
  const auto method = config.string("quant_method");
  if (!method) refuse("has no quant_method; supported are ", supported);
  schemes_.method_ = *method;
  if (*method == "gptq") return parse_gptq(config);
  if (*method == "modelopt") return parse_modelopt(config);
  if (*method == "compressed-tensors")
    parse_compressed_tensors(config);
  else if (*method == "fp8")
    parse_fp8(config);
  else if (*method == "awq")
    parse_awq(config);
  else if (*method == "bitsandbytes")
    parse_bitsandbytes(config);
  else
    refuse("quant_method is ", quote(*method), "; supported are ", supported);
  return std::move(schemes_);
}

void StoredSchemeParser::parse_fp8(const JsonObject& config) {
  schemes_.layout_ = WeightLayout::fp8;
  const std::string format = config.string("fmt").value_or("e4m3");
  if (format != "e4m3" && format != "e5m2")
    refuse("fmt is ", quote(format), "; supported are e4m3 and e5m2");
  StoredScheme stored;
  stored.scheme.number = format == "e5m2" ? WeightNumber::e5m2 : WeightNumber::e4m3;
  stored.scheme.bits = 8;
  stored.scheme.scales = ScalesOf::tensor;  // or a row: the tensor tells
  const auto activations = config.string("activation_scheme").value_or("dynamic");
  if (activations != "dynamic" && activations != "static")
    refuse("activation_scheme is ", quote(activations), "; supported are dynamic and static");
  stored.static_activations = activations == "static";
  stored.scheme.activations = ActivationScheme::fp8_tensor;
  if (const Json* size = config.list("weight_block_size")) {
    const auto is_size = [](const Json& n) {
      return n.is_number_unsigned() && n.get<std::uint64_t>() > 0 &&
             n.get<std::uint64_t>() <= static_cast<std::uint64_t>(kMostGroup);
    };
    if (size->size() != 2 || !is_size((*size)[0]) || !is_size((*size)[1]))
      fail(ErrorKind::input, config.where(), ": weight_block_size is ", quote(size->dump()),
           "; expected two numbers of rows and columns");
    stored.scheme.scales = ScalesOf::block;
    stored.block_rows = (*size)[0].get<std::uint64_t>();
    stored.block_cols = (*size)[1].get<std::uint64_t>();
    stored.scheme.activations = ActivationScheme::fp8_group;
  }
  for_all(stored);
}

StoredScheme StoredSchemeParser::of_gptq(const JsonObject& config, const StoredScheme& base) const {
  StoredScheme stored = base;
  WeightScheme& scheme = stored.scheme;
  scheme.layout = schemes_.layout_;
  scheme.bits = static_cast<int>(config.integer("bits", 1, 64).value_or(scheme.bits));
  if (scheme.bits != 2 && scheme.bits != 3 && scheme.bits != 4 && scheme.bits != 8)
    refuse("bits is ", scheme.bits, "; supported for gptq are 2, 3, 4 and 8");
  if (config.has("group_size")) set_groups(scheme, group_size_in(config, "group_size"));
  scheme.symmetric = config.boolean("sym").value_or(scheme.symmetric);
  return stored;
}

StoredSchemes StoredSchemeParser::parse_gptq(const JsonObject& config) {
  schemes_.method_ = "gptq";
  std::string format = "gptq";
  for (const char* key : {"checkpoint_format", "format"})
    if (const auto text = config.string(key)) {
      format = *text;
      break;
    }
  if (format != "gptq" && format != "gptq_v2")
    refuse("checkpoint_format is ", quote(format), "; supported are gptq and gptq_v2");
  if (const auto pack = config.string("pack_dtype"); pack && *pack != "int32")
    refuse("pack_dtype is ", quote(*pack), "; supported is int32");
  schemes_.layout_ = format == "gptq" ? WeightLayout::gptq : WeightLayout::gptq_v2;
  if (!config.integer("bits", 1, 64))
    fail(ErrorKind::input, config.where(), ": bits is missing; expected 2, 3, 4 or 8");
  const StoredScheme stored = of_gptq(config, {.scheme = {.scales = ScalesOf::channel}});
  const JsonObject rules = config.object("dynamic");
  if (const Json* all = config.find("dynamic"))
    for (const auto& [key, value] : all->items()) {
      StoredSchemes::Group rule;
      const bool leaves_out = key.starts_with("-:");
      const std::string pattern = leaves_out || key.starts_with("+:") ? key.substr(2) : key;
      rule.patterns.emplace_back(pattern, rules.where());
      if (!leaves_out) rule.stored = of_gptq({&value, rules.where() + ": " + quote(key)}, stored);
      schemes_.rules_.push_back(std::move(rule));
    }
  for_all(stored);
  return std::move(schemes_);
}

void StoredSchemeParser::parse_awq(const JsonObject& config) {
  schemes_.layout_ = WeightLayout::awq;
  StoredScheme stored;
  const auto bits =
      config.integer("bits", 1, 64).value_or(config.integer("w_bit", 1, 64).value_or(4));
  if (bits != 4) refuse("bits is ", bits, "; supported for awq is 4");
  std::string version = config.string("version").value_or("gemm");
  for (char& c : version) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  if (version != "gemm") refuse("version is ", quote(version), "; supported for awq is gemm");
  if (!config.boolean("zero_point").value_or(true))
    refuse("zero_point is false; supported for awq is true");
  set_groups(stored.scheme,
             group_size_in(config, config.has("q_group_size") ? "q_group_size" : "group_size"));
  stored.scheme.symmetric = false;
  for_all(stored);
}

void StoredSchemeParser::parse_bitsandbytes(const JsonObject& config) {
  schemes_.layout_ = WeightLayout::bitsandbytes;
  const bool four = config.boolean("load_in_4bit").value_or(false);
  const bool eight = config.boolean("load_in_8bit").value_or(false);
  if (four == eight)
    fail(ErrorKind::input, config.where(),
         ": expected one of load_in_4bit and load_in_8bit to be true");
  StoredScheme stored;
  stored.scheme.format = "bitsandbytes";
  stored.scheme.number = four ? WeightNumber::bnb_nf4 : WeightNumber::bnb_int8;
  stored.scheme.bits = four ? 4 : 8;
  stored.scheme.scales = four ? ScalesOf::group : ScalesOf::channel;
  if (eight)
    stored.other_activations = "8-bit integers, a scale a token, apart from columns of outliers";
  for_all(stored);
}

StoredScheme StoredSchemeParser::of_algorithm(const JsonObject& config,
                                              const std::string& algorithm) const {
  StoredScheme stored;
  WeightScheme& scheme = stored.scheme;
  scheme.layout = WeightLayout::modelopt;
  if (algorithm == "W4A16_AWQ") {
    const auto size = group_size_in(config, "group_size");
    if (!size) fail(ErrorKind::input, config.where(), ": group_size is missing");
    set_groups(scheme, size);
    if (config.boolean("has_zero_point").value_or(false))
      refuse("has_zero_point is true; supported for W4A16_AWQ is false");
  } else if (algorithm == "FP8") {
    scheme.number = WeightNumber::e4m3;
    scheme.bits = 8;
    scheme.scales = ScalesOf::tensor;
    scheme.activations = ActivationScheme::fp8_tensor;
    stored.static_activations = true;
  } else if (algorithm == "NVFP4") {
    scheme.number = WeightNumber::nvfp4;
    set_groups(scheme, 16);
    scheme.activations = ActivationScheme::fp4_group;
    stored.static_activations = true;
  } else {
    refuse("quant_algo is ", quote(algorithm),
           "; supported are W4A16_AWQ, FP8, NVFP4 and MIXED_PRECISION of them");
  }
  return stored;
}

StoredSchemes StoredSchemeParser::parse_modelopt(const JsonObject& config) {
  schemes_.method_ = "modelopt";
  schemes_.layout_ = WeightLayout::modelopt;
  const auto algorithm = config.string("quant_algo");
  if (!algorithm) refuse("has no quant_algo");
  if (*algorithm != "MIXED_PRECISION") {
    for_all(of_algorithm(config, *algorithm));
    return std::move(schemes_);
  }
  const JsonObject layers = config.object("quantized_layers");
  if (layers.empty())
    fail(ErrorKind::input, config.where(), ": has no quantized_layers for MIXED_PRECISION");
  for (const auto& [name, value] : config.find("quantized_layers")->items()) {
    const JsonObject layer(&value, layers.where() + ": " + quote(name));
    const auto of_layer = layer.string("quant_algo");
    if (!of_layer) refuse(quote(name), " has no quant_algo");
    schemes_.groups_.push_back({.stored = of_algorithm(layer, *of_layer), .names = {name}});
  }
  return std::move(schemes_);
}

void StoredSchemeParser::parse_compressed_tensors(const JsonObject& config) {
  schemes_.layout_ = WeightLayout::compressed_tensors;
  if (const auto status = config.string("quantization_status");
      status && *status != "compressed" && *status != "frozen")
    refuse("quantization_status is ", quote(*status), "; supported is compressed");
  const JsonObject sparsity = config.object("sparsity_config");
  if (const auto format = sparsity.string("format"); format && *format != "dense")
    refuse("sparsity_config: format is ", quote(*format), "; supported is dense");
  const JsonObject transforms = config.object("transform_config");
  if (const Json* some = transforms.find("config_groups"); some && !some->empty())
    refuse("transform_config: transforms of weights are not supported");
  const auto format = config.string("format");
  const JsonObject groups = config.object("config_groups");
  if (groups.empty()) fail(ErrorKind::input, config.where(), ": has no config_groups");
  for (const auto& [name, value] : config.find("config_groups")->items())
    parse_config_group({&value, groups.where() + ": " + quote(name)}, format);
  add_targets(config, "ignore", schemes_.ignored_);
}

void StoredSchemeParser::parse_config_group(const JsonObject& group,
                                            const std::optional<std::string>& format) {
  StoredSchemes::Group made;
  const auto own = group.string("format");
  const JsonObject weights = group.object("weights");
  if (!weights.empty()) {
    if (!own && !format)
      fail(ErrorKind::input, group.where(), ": neither the group nor the whole has a format");
    const std::string& of_group = own ? *own : *format;
    if (of_group != "dense") {
      made.stored = compressed_weights(weights, of_group);
      add_compressed_activations(group.object("input_activations"), *made.stored);
    }
  }
  add_targets(group, "targets", made);
  schemes_.groups_.push_back(std::move(made));
}

std::optional<StoredSchemes> read_stored_schemes(const StoredConfigs& configs) {
  for (const char* key : {"quantization_config", "compression_config"})
    if (configs.config.find(key)) {
      const JsonObject object = configs.config.object(key);
      // ModelOpt's own file says more, where both are there.
      if (object.string("quant_method").value_or("modelopt") == "modelopt" &&
          !object.has("quant_algo") && !configs.modelopt.empty())
        break;
      return StoredSchemeParser(object.where()).parse(object);
    }
  if (!configs.modelopt.empty()) {
    const JsonObject object = configs.modelopt.object("quantization");
    return StoredSchemeParser(configs.modelopt.where()).parse_modelopt(object);
  }
  if (configs.quantize_config.empty()) return std::nullopt;
  StoredSchemeParser parser(configs.quantize_config.where());
  if (configs.quantize_config.has("quant_method")) return parser.parse(configs.quantize_config);
  return parser.parse_gptq(configs.quantize_config);
}

std::optional<StoredSchemes> read_stored_schemes(const HfFolder& folder) {
  return read_stored_schemes(StoredConfigs{folder.config(), folder.object("quantize_config.json"),
                                           folder.object("hf_quant_config.json")});
}

}  // namespace lq
