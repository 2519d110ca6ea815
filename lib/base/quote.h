#pragma once
// Text from files inside messages: it may hold anything, so it is shown harmlessly.
#include <cstddef>
#include <string>
#include <string_view>

namespace lq {

/// `text` in single quotes: control bytes and bytes that are not UTF-8 as \xNN, cut after about
/// `limit` bytes with "...".
std::string quote(std::string_view text, std::size_t limit = 120);

/// A name for a column of a table: as it is when all of it is ASCII that can be seen, else quoted.
std::string quote_unless_plain(std::string_view name);

}  // namespace lq
