#pragma once
// What is inside a model file or folder, for people and for programs.
#include <filesystem>
#include <string>

#include "lib/base/json.h"
#include "lib/base/monitor.h"

namespace lq {

/// Which parts are shown besides the totals; none means a summary.
struct InspectParts {
  bool tensors = false, metadata = false, tokens = false;
};

/// lq.convert.inspect/1 without its envelope: path, format, files, metadata, tensors, tokens,
/// totals. An importance matrix gives importance_json(), unless its tensors or metadata are asked
/// for. A folder's metadata are the members of config.json; its tokens are those that a
/// conversion would write. Throws Error(file | input | unsupported).
OrderedJson inspect_json(const std::filesystem::path& path, const InspectParts& parts,
                         Monitor& monitor);
/// The same facts as text.
std::string inspect_text(const std::filesystem::path& path, const InspectParts& parts,
                         Monitor& monitor);

}  // namespace lq
