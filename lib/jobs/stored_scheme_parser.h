#pragma once
// Makes StoredSchemes of JSON: a function for each package's configuration.
#include "lib/jobs/convert_folder.h"
#include "lib/jobs/stored_scheme.h"

namespace lq {

/// The JSON objects that may say it; those that are not there are empty.
struct StoredConfigs {
  JsonObject config;           ///< config.json: quantization_config or compression_config
  JsonObject quantize_config;  ///< quantize_config.json: GPTQ without the former
  JsonObject modelopt;         ///< hf_quant_config.json
};

class StoredSchemeParser {
 public:
  explicit StoredSchemeParser(std::string where) { schemes_.where_ = std::move(where); }

  StoredSchemes parse(const JsonObject& config);           ///< by its quant_method
  StoredSchemes parse_gptq(const JsonObject& config);      ///< also version 2
  StoredSchemes parse_modelopt(const JsonObject& config);  ///< the member `quantization`

 private:
  void parse_compressed_tensors(const JsonObject& config);
  void parse_config_group(const JsonObject& group, const std::optional<std::string>& format);
  void parse_fp8(const JsonObject& config);
  void parse_awq(const JsonObject& config);
  void parse_bitsandbytes(const JsonObject& config);
  /// A scheme of ModelOpt by its quant_algo.
  StoredScheme of_algorithm(const JsonObject& config, const std::string& algorithm) const;
  StoredScheme of_gptq(const JsonObject& config, const StoredScheme& base) const;
  /// Modules by names, "re:" patterns and classes of PyTorch.
  void add_targets(const JsonObject& object, const char* key, StoredSchemes::Group& group);
  void for_all(StoredScheme stored);
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const;

  StoredSchemes schemes_;
};

/// What compressed-tensors says of weights. Throws Error(unsupported | input).
StoredScheme compressed_weights(const JsonObject& weights, const std::string& format);
/// What it says of activations. Schemes that are not known become none and other_activations: they
/// are no part of the weights.
void add_compressed_activations(const JsonObject& activations, StoredScheme& stored);

}  // namespace lq
