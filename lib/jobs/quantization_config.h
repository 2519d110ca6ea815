#pragma once
// What a checkpoint's JSON files say of how its matrices are stored.
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/jobs/weight_scheme.h"

namespace lq {

/// The `quantization_config` of config.json; null where the layout has none there. `ignored` are
/// modules that stay as they are; `type` is that of the model.
OrderedJson quantization_config(const WeightScheme& scheme, const std::vector<std::string>& ignored,
                                DType type);

/// A further JSON file in the folder.
struct ConfigFile {
  std::string name;
  std::string text;
};
std::vector<ConfigFile> quantization_files(const WeightScheme& scheme,
                                           const std::vector<std::string>& ignored);

/// "bfloat16", as PyTorch calls F32, F16 and BF16.
const char* torch_name(DType type);

}  // namespace lq
