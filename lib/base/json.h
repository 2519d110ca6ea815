#pragma once
// JSON values for the few interfaces that carry them; the parser itself stays in json.cpp.
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace lq {

using Json = nlohmann::json;  ///< objects sorted by key: fast look-up, for large files
using OrderedJson =
    nlohmann::ordered_json;  ///< objects in file order: linear look-up, for small ones

/// Parses text that nobody has checked. Throws Error(input): file name, byte and line of the fault;
/// also for more than 512 nested levels. `name` is the file's name for messages.
Json parse_json(std::string_view text, const std::string& name);
OrderedJson parse_ordered_json(std::string_view text, const std::string& name);

}  // namespace lq
