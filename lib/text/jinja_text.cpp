#include "lib/text/jinja_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdio>

namespace lq::jinja {
namespace {
utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}
char32_t simple(utf8proc_int32_t (*map)(utf8proc_int32_t), char32_t c) {
  return static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(c)));
}

/// Characters whose upper case is longer than one; the rare Greek ones with iota below are left.
struct LongUpper {
  char32_t c;
  const char* upper;
  const char* title;
};
constexpr std::array<LongUpper, 8> kLongUpper = {{{0xdf, "SS", "Ss"},
                                                  {0x149, "\xca\xbcN", "\xca\xbcN"},
                                                  {0xfb00, "FF", "Ff"},
                                                  {0xfb01, "FI", "Fi"},
                                                  {0xfb02, "FL", "Fl"},
                                                  {0xfb03, "FFI", "Ffi"},
                                                  {0xfb04, "FFL", "Ffl"},
                                                  {0xfb06, "ST", "St"}}};

void append_upper(std::string& out, char32_t c, bool title_case) {
  for (const LongUpper& row : kLongUpper)
    if (row.c == c) {
      out += title_case ? row.title : row.upper;
      return;
    }
  append_char(out, simple(title_case ? utf8proc_totitle : utf8proc_toupper, c));
}

/// Where the character that ends at `end` starts.
std::size_t char_before(std::string_view text, std::size_t end) {
  do --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80);
  return end;
}

/// Sigma has another form at the end of a word.
bool ends_word(std::string_view text, std::size_t start, std::size_t end) {
  if (start == 0) return false;
  std::size_t before = char_before(text, start);
  if (!is_cased(next_char(text, before))) return false;
  return end == text.size() || !is_cased(next_char(text, end));
}

void append_lower(std::string& out, std::string_view text, std::size_t start, std::size_t end,
                  char32_t c) {
  if (c == 0x130)
    out += "i\xcc\x87";
  else if (c == 0x3a3)
    append_char(out, ends_word(text, start, end) ? 0x3c2 : 0x3c3);
  else
    append_char(out, simple(utf8proc_tolower, c));
}

bool is_line_end(char32_t c) {
  return (c >= 0xa && c <= 0xd) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}
}  // namespace

char32_t next_char(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned first = byte(at);
  const std::size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  char32_t c = length == 1 ? first : first & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) c = c << 6 | (byte(at + i) & 0x3f);
  at = std::min(text.size(), at + length);
  return c;
}

void append_char(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  }
}

std::vector<std::string_view> chars_of(std::string_view text) {
  std::vector<std::string_view> chars;
  chars.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    next_char(text, at);
    chars.push_back(text.substr(start, at - start));
  }
  return chars;
}

std::size_t count_chars(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

bool valid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t c = 0;
    const auto rest = static_cast<utf8proc_ssize_t>(text.size() - at);
    const utf8proc_ssize_t n =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at), rest, &c);
    if (n <= 0) return false;
    at += static_cast<std::size_t>(n);
  }
  return true;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}
bool is_cased(char32_t c) {
  const auto kind = category(c);
  return kind == UTF8PROC_CATEGORY_LU || kind == UTF8PROC_CATEGORY_LL ||
         kind == UTF8PROC_CATEGORY_LT;
}
bool is_alpha(char32_t c) {
  const auto kind = category(c);
  return is_cased(c) || kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
}
bool is_numeric(char32_t c) {
  const auto kind = category(c);
  return is_decimal(c) || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

std::string_view strip(std::string_view text, const std::string* chars, bool left, bool right) {
  const auto drop = [&](std::string_view view) {
    std::size_t at = 0;
    return chars ? chars->find(view) != std::string::npos : is_space(next_char(view, at));
  };
  while (left && !text.empty()) {
    std::size_t end = 0;
    next_char(text, end);
    if (!drop(text.substr(0, end))) break;
    text.remove_prefix(end);
  }
  while (right && !text.empty()) {
    const std::size_t start = char_before(text, text.size());
    if (!drop(text.substr(start))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::string upper(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) append_upper(out, next_char(text, at), false);
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_char(text, at);
    append_lower(out, text, start, at, c);
  }
  return out;
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_char(text, at);
    if (inside)
      append_lower(out, text, start, at, c);
    else
      append_upper(out, c, true);
    inside = is_cased(c);
  }
  return out;
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return "";
  std::size_t at = 0;
  std::string out;
  append_upper(out, next_char(text, at), true);
  return out + lower(text.substr(at));
}

std::vector<std::string_view> split(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> parts;
  while (!(text = strip(text, nullptr, true, false)).empty()) {
    if (limit >= 0 && static_cast<std::int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      break;
    }
    std::size_t end = 0;
    for (std::size_t at = 0; at < text.size(); end = at)
      if (is_space(next_char(text, at))) break;
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> split(std::string_view text, std::string_view by,
                                    std::int64_t limit) {
  std::vector<std::string_view> parts;
  std::size_t at = 0;
  for (std::size_t next; limit < 0 || static_cast<std::int64_t>(parts.size()) < limit;) {
    if ((next = text.find(by, at)) == std::string_view::npos) break;
    parts.push_back(text.substr(at, next - at));
    at = next + by.size();
  }
  parts.push_back(text.substr(at));
  return parts;
}

std::vector<std::string_view> rsplit(std::string_view text, std::int64_t limit) {
  std::vector<std::string_view> parts = split(text, -1);
  const auto keep = limit < 0 ? parts.size() : static_cast<std::size_t>(limit);
  if (parts.size() <= keep) return parts;
  const auto first = parts.end() - static_cast<std::ptrdiff_t>(keep);
  const char* end = first[-1].data() + first[-1].size();
  const std::string_view rest(parts[0].data(), static_cast<std::size_t>(end - parts[0].data()));
  const auto* start = text.data();
  parts.erase(parts.begin(), first);
  // Only the right end of the rest is stripped.
  parts.insert(
      parts.begin(),
      std::string_view(start, static_cast<std::size_t>(rest.data() - start) + rest.size()));
  return parts;
}

std::vector<std::string_view> rsplit(std::string_view text, std::string_view by,
                                     std::int64_t limit) {
  std::vector<std::string_view> parts;
  std::size_t next;
  while ((limit < 0 || static_cast<std::int64_t>(parts.size()) < limit) &&
         (next = text.rfind(by)) != std::string_view::npos) {
    parts.push_back(text.substr(next + by.size()));
    text = text.substr(0, next);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  std::size_t start = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at;
    const char32_t c = next_char(text, at);
    if (!is_line_end(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(start, (keep_ends ? at : end) - start));
    start = at;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::size_t count_parts(std::string_view text, std::string_view part) {
  if (part.empty()) return count_chars(text) + 1;
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; ++n)
    at = text.find(part, at + part.size());
  return n;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to,
                    std::int64_t limit) {
  std::string out;
  if (from.empty()) {
    std::size_t at = 0;
    for (std::int64_t n = 0; limit < 0 || n < limit; ++n) {
      out += to;
      if (at == text.size()) return out;
      append_char(out, next_char(text, at));
    }
    return out.append(text.substr(at));
  }
  const std::vector<std::string_view> parts = split(text, from, limit);
  out = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) out.append(to).append(parts[i]);
  return out;
}

std::string repr(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_char(text, at);
    char code[12];
    if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\\' || c == static_cast<char32_t>(quote))
      (out += '\\') += static_cast<char>(c);
    else if (is_printable(c))
      out += text.substr(start, at - start);
    else {
      const char* const form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
      out.append(code, static_cast<std::size_t>(
                           std::snprintf(code, sizeof code, form, static_cast<unsigned>(c))));
    }
  }
  return out += quote;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  return out;
}

}  // namespace lq::jinja
