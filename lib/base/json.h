#pragma once
// JSON values for the few interfaces that carry them; the parser itself stays in json.cpp.
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace lq {

using Json = nlohmann::json;  ///< objects sorted by key: fast look-up, for large files
using OrderedJson =
    nlohmann::ordered_json;  ///< objects in file order: linear look-up, for small ones

/// Parses text that nobody has checked; of members with the same name the last one counts. Throws
/// Error(input): file name, line and column of the fault; also for more than 512 nested levels.
/// `name` is the file's name for messages. The ordered form takes objects of up to 65536 members.
Json parse_json(std::string_view text, const std::string& name);
OrderedJson parse_ordered_json(std::string_view text, const std::string& name);

}  // namespace lq
