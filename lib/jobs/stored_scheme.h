#pragma once
// What the JSON files of a quantized checkpoint say of how its matrices are stored.
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/jobs/module_pattern.h"
#include "lib/jobs/weight_scheme.h"

namespace lq {

class HfFolder;
struct StoredConfigs;  ///< stored_scheme_parser.h

/// How a matrix is stored. Of the scheme all but name, method and scale type counts; the numbers of
/// bitsandbytes are told by the tensors.
struct StoredScheme {
  WeightScheme scheme = {};
  std::uint64_t block_rows = 0, block_cols = 0;  ///< with ScalesOf::block
  bool static_activations = false;               ///< activations have a scale in the checkpoint
  std::string other_activations =
      {};  ///< how activations are rounded, where `scheme` cannot say it
};

/// What quant_method may be: "gptq", ...
std::span<const char* const> quantization_methods();

/// "4-bit integers with zero points, groups of 128"
std::string text_of(const StoredScheme& stored);

/// The scheme of each module.
class StoredSchemes {
 public:
  /// Null: the module stays as it is. Throws Error(unsupported) when rules contradict each other.
  const StoredScheme* find(const std::string& module) const;
  WeightLayout layout() const { return layout_; }
  const std::string& where() const { return where_; }  ///< the file, for messages
  /// For people: "gptq: 4-bit integers, groups of 128".
  std::string text() const;

 private:
  friend class StoredSchemeParser;

  struct Group {
    std::optional<StoredScheme> stored;  ///< absent: such modules stay as they are
    std::vector<std::string> names = {};
    std::vector<ModulePattern> patterns = {};
    bool all = false;  ///< also every other module
  };

  std::string where_, method_;
  WeightLayout layout_ = WeightLayout::compressed_tensors;
  std::vector<Group> rules_;   ///< for single modules: count before the groups
  std::vector<Group> groups_;  ///< names count before patterns, patterns before the rest
  Group ignored_;
};

/// Nothing when no file says that the checkpoint is quantized. Throws Error(input | unsupported)
/// for what is wrong or not known.
std::optional<StoredSchemes> read_stored_schemes(const StoredConfigs& configs);
std::optional<StoredSchemes> read_stored_schemes(const HfFolder& folder);

}  // namespace lq
