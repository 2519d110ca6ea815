#pragma once
// The general.* keys: who made a model, what it is called, under which licence it is.
#include <cstdint>
#include <filesystem>
#include <string>

#include "lib/base/monitor.h"
#include "lib/format/metadata.h"
#include "lib/jobs/convert_folder.h"
#include "lib/jobs/convert_model_id.h"

namespace lq {

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
