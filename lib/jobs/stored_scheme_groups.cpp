// The arguments of compressed-tensors' config groups.
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/stored_scheme_parser.h"

namespace lq {
namespace {

constexpr std::int64_t kMostColumns = 1 << 24;

struct CompressedFormat {
  std::string_view name, type;
  int least_bits, most_bits;
  WeightNumber number;
  int group;  ///< the only one; 0: any
};
constexpr CompressedFormat kCompressedFormats[] = {
    {"pack-quantized", "int", 2, 8, WeightNumber::integer, 0},
    {"int-quantized", "int", 2, 8, WeightNumber::integer, 0},
    {"naive-quantized", "int", 2, 8, WeightNumber::integer, 0},
    {"float-quantized", "float", 8, 8, WeightNumber::e4m3, 0},
    {"naive-quantized", "float", 8, 8, WeightNumber::e4m3, 0},
    {"nvfp4-pack-quantized", "float", 4, 4, WeightNumber::nvfp4, 16},
    {"mxfp4-pack-quantized", "float", 4, 4, WeightNumber::mxfp4, 32},
    {"mxfp8-quantized", "float", 8, 8, WeightNumber::mxfp8, 32},
};

const CompressedFormat& format_for(const JsonObject& weights, const std::string& name,
                                   const std::string& type, std::int64_t bits) {
  std::string known;
  const CompressedFormat* of_name = nullptr;
  for (const CompressedFormat& row : kCompressedFormats) {
    if (row.name == name) {
      of_name = &row;
      if (row.type == type && bits >= row.least_bits && bits <= row.most_bits) return row;
    }
    if (known.find(row.name) == std::string::npos)
      known += std::string(known.empty() ? "" : ", ") + std::string(row.name);
  }
  if (of_name)
    fail(ErrorKind::unsupported, weights.where(), ": ", name, " with numbers of type ", quote(type),
         " and ", bits, " bits is not supported");
  fail(ErrorKind::unsupported, weights.where(), ": the format ", quote(name),
       " is not supported; supported are ", known);
}

/// The strategy, which follows from the group's size where it is not said.
std::string strategy_of(const JsonObject& arguments) {
  if (const auto strategy = arguments.string("strategy")) return *strategy;
  const auto size = arguments.integer("group_size", -1, kMostColumns);
  return !size ? "tensor" : *size > 0 ? "group" : "channel";
}

void set_block(const JsonObject& weights, StoredScheme& stored) {
  const Json* size = weights.list("block_structure");
  const auto is_size = [](const Json& n) {
    return n.is_number_unsigned() && n.get<std::uint64_t>() > 0 &&
           n.get<std::uint64_t>() <= static_cast<std::uint64_t>(kMostColumns);
  };
  if (!size || size->size() != 2 || !is_size((*size)[0]) || !is_size((*size)[1]))
    fail(ErrorKind::input, weights.where(), ": block_structure is ",
         size ? quote(size->dump()) : "missing", "; expected two numbers of rows and columns");
  stored.scheme.scales = ScalesOf::block;
  stored.block_rows = (*size)[0].get<std::uint64_t>();
  stored.block_cols = (*size)[1].get<std::uint64_t>();
}

/// "'int' of 4 bits, strategy 'group' of 64, with zero points"
std::string text_of_activations(const JsonObject& activations, const std::string& type,
                                std::int64_t bits, const std::string& strategy) {
  std::string text =
      quote(type) + " of " + std::to_string(bits) + " bits, strategy " + quote(strategy);
  if (const auto group = activations.integer("group_size", -1, kMostColumns); group && *group > 0)
    text += " of " + std::to_string(*group);
  if (!activations.boolean("symmetric").value_or(true)) text += ", with zero points";
  return text;
}

}  // namespace

StoredScheme compressed_weights(const JsonObject& weights, const std::string& format) {
  const auto bits = weights.integer("num_bits", 1, 64).value_or(8);
  const CompressedFormat& row =
      format_for(weights, format, weights.string("type").value_or("int"), bits);
  StoredScheme stored;
  WeightScheme& scheme = stored.scheme;
  scheme.format = format;
  scheme.number = row.number;
  scheme.bits = static_cast<int>(bits);
  scheme.symmetric = weights.boolean("symmetric").value_or(true);
  if (!scheme.symmetric && row.number != WeightNumber::integer)
    fail(ErrorKind::unsupported, weights.where(),
         ": symmetric is false; floats have no zero points");
  const std::string strategy = strategy_of(weights);
  if (strategy == "tensor") {
    scheme.scales = ScalesOf::tensor;
  } else if (strategy == "channel") {
    scheme.scales = ScalesOf::channel;
  } else if (strategy == "block" && row.number == WeightNumber::e4m3) {
    set_block(weights, stored);
  } else if (strategy == "group" || strategy == "tensor_group") {
    scheme.scales = ScalesOf::group;
    const auto size = weights.integer("group_size", 1, kMostColumns);
    if (!size) fail(ErrorKind::input, weights.where(), ": group_size is missing");
    scheme.group_size = static_cast<int>(*size);
  } else {
    fail(ErrorKind::unsupported, weights.where(), ": the strategy ", quote(strategy),
         " is not supported for ", format);
  }
  if (row.group > 0 && (scheme.scales != ScalesOf::group || scheme.group_size != row.group))
    fail(ErrorKind::unsupported, weights.where(), ": ", format, " has groups of ", row.group,
         "; found ", text_of(stored));
  return stored;
}

void add_compressed_activations(const JsonObject& activations, StoredScheme& stored) {
  if (activations.empty()) return;
  const std::string type = activations.string("type").value_or("int");
  const auto bits = activations.integer("num_bits", 1, 64).value_or(8);
  const std::string strategy = strategy_of(activations);
  const auto group = activations.integer("group_size", -1, kMostColumns).value_or(0);
  const bool powers = activations.string("scale_dtype").value_or("") == "torch.uint8";
  const bool integers =
      type == "int" && bits == 8 && activations.boolean("symmetric").value_or(true);
  const bool floats = type == "float" && bits == 8;
  ActivationScheme& scheme = stored.scheme.activations;
  if (integers && (strategy == "token" || strategy == "tensor")) {
    scheme = ActivationScheme::int8_token;
  } else if (floats && strategy == "token") {
    scheme = ActivationScheme::fp8_token;
  } else if (floats && strategy == "tensor") {
    scheme = ActivationScheme::fp8_tensor;
  } else if (floats && group == 128 && !powers) {
    scheme = ActivationScheme::fp8_group;
  } else if (floats && group == 32 && powers) {
    scheme = ActivationScheme::mxfp8_group;
  } else if (type == "float" && bits == 4 && group == 16) {
    scheme = ActivationScheme::fp4_group;
  } else {
    stored.other_activations = text_of_activations(activations, type, bits, strategy);
  }
  const Json* dynamic = activations.find("dynamic");
  const bool is_dynamic = dynamic && dynamic->is_boolean() && dynamic->get<bool>();
  stored.static_activations = !is_dynamic;
}

}  // namespace lq
