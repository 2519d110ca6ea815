#pragma once
// Metadata that the user gives: KEY=TYPE:VALUE.
#include <span>
#include <string_view>

#include "lib/format/metadata.h"

namespace lq {

/// Parses KEY=TYPE:VALUE. TYPE is int (stored as u32), float (as f32), bool (true or false) or str.
/// Keys and strings have at most 127 bytes. Throws Error(usage) for another form, for values that
/// the type cannot hold, and for keys that describe the file itself (general.alignment, split.*).
Metadata::Entry parse_override(std::string_view text);

/// Replaces or adds each key, at the end of the metadata, in the order given. Throws Error(usage)
/// when a key is there with a value of another kind: number, text, truth value or list.
void apply_overrides(Metadata& metadata, std::span<const Metadata::Entry> overrides);

}  // namespace lq
