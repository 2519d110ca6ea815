#pragma once
// The general.* keys: who made a model, what it is called, under which licence it is.
#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "lib/base/monitor.h"
#include "lib/format/metadata.h"
#include "lib/jobs/convert_folder.h"
#include "lib/jobs/convert_model_id.h"

namespace lq {

/// A text key and the members of a model card that may hold it, in order of preference.
struct TextField {
  const char* key;  ///< after "general."
  std::array<const char*, 3> card;
};
std::span<const TextField> text_fields();

/// A setting for choosing tokens.
struct SamplingField {
  enum class Kind { text, integer, real };
  const char* key;      ///< after "general.sampling."
  const char* hf_name;  ///< in generation_config.json
  Kind kind;
};
std::span<const SamplingField> sampling_fields();

struct GeneralOptions {
  std::string name;                 ///< overrides the name; empty: not given
  std::filesystem::path overrides;  ///< JSON file of general.* keys; empty: none
  std::uint64_t parameters = 0;     ///< 0: not known, no size label is made up
};

/// Appends general.type and the descriptive keys, each from the first source that has it:
/// overrides, front matter of README.md, config.json's _name_or_path, the folder's name. Returns
/// the parts that make the conventional file name.
FileNameParts add_general(const HfFolder& folder, const GeneralOptions& options, Metadata& metadata,
                          Monitor& monitor);

}  // namespace lq
