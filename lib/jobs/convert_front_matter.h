#pragma once
// The YAML block at the head of a model card.
#include <string>
#include <string_view>

#include "lib/base/json.h"

namespace lq {

/// The members of the front matter of README.md: an object, empty when there is none. Understands
/// the YAML that model cards are written in: block and flow mappings and sequences, plain and
/// quoted scalars, folded and literal blocks, comments; scalars stay text but for null. Throws
/// Error(input) that names the line for anything else.
Json parse_front_matter(std::string_view readme, const std::string& name);

}  // namespace lq
