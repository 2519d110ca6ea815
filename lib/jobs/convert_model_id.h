#pragma once
// What the name of a model says about it, by the reference converter's rules.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lq {

/// Parts of "organization/Base-Name-8B-Instruct-v2".
struct ModelId {
  std::optional<std::string> name;  ///< without the organization
  std::optional<std::string> organization;
  std::optional<std::string> basename, finetune, version, size_label;
};

/// `parameters` tells a size from a context length; 0: not known.
ModelId parse_model_id(std::string_view id, std::uint64_t parameters);

/// "meta-llama-3" as "Meta Llama 3": words in lower case get a capital.
std::string title_of(std::string_view id);

/// "6.7B", "359K".
std::string size_label(std::uint64_t parameters);

/// "Name-8B-Instruct-v2-Q8_0": parts that are absent are left out.
struct FileNameParts {
  std::optional<std::string> name, basename, size_label, finetune, version;
  std::string encoding;  ///< "Q8_0", or empty
  std::string kind;      ///< "vocab", or empty
};
std::string conventional_file_name(const FileNameParts& parts);

}  // namespace lq
