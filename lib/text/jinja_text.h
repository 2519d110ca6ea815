#pragma once
// Python's str on UTF-8 that was checked before.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lq::jinja {

/// The code point at `at`, which moves behind it.
char32_t next_char(std::string_view text, std::size_t& at);
void append_char(std::string& out, char32_t c);
/// One view a code point.
std::vector<std::string_view> chars_of(std::string_view text);
std::size_t count_chars(std::string_view text);
bool valid_utf8(std::string_view text);

bool is_space(char32_t c);
/// Without what is in `chars` at the ends; white space when `chars` is null.
std::string_view strip(std::string_view text, const std::string* chars, bool left, bool right);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);
std::string capitalize(std::string_view text);
bool is_cased(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
/// Decimals, superscripts and subscripts.
bool is_digit(char32_t c);
bool is_numeric(char32_t c);

/// Splits at white space, at most `limit` times if it is not negative.
std::vector<std::string_view> split(std::string_view text, std::int64_t limit);
std::vector<std::string_view> split(std::string_view text, std::string_view by, std::int64_t limit);
/// From the right.
std::vector<std::string_view> rsplit(std::string_view text, std::int64_t limit);
std::vector<std::string_view> rsplit(std::string_view text, std::string_view by,
                                     std::int64_t limit);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);
/// Times `part` occurs without overlap; a part of no characters occurs around each character.
std::size_t count_parts(std::string_view text, std::string_view part);
/// The first `limit` occurrences (all if negative) replaced.
std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    std::int64_t limit);

/// Python's repr(str)
std::string repr(std::string_view text);
/// & < > " ' as HTML entities.
std::string escape_html(std::string_view text);

}  // namespace lq::jinja
