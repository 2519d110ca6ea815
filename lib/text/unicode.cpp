#include "lib/text/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "lib/base/error.h"

namespace lq {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// What a first byte asks for: bytes of the character, and the range of the second byte.
struct Lead {
  int bytes;
  unsigned char second_least, second_most;
};

Lead lead_of(unsigned char first) noexcept {
  if (first < 0x80) return {1, 0, 0};
  if (first < 0xC2) return {0, 0, 0};
  if (first < 0xE0) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};
  if (first == 0xED) return {3, 0x80, 0x9F};
  if (first < 0xF0) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};
  if (first < 0xF4) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// Bytes from text[at] on that could be the beginning of one character, at most the whole of it.
int plausible_bytes(std::string_view text, std::size_t at, int wanted) noexcept {
  const Lead lead = lead_of(static_cast<unsigned char>(text[at]));
  int n = 1;
  while (n < wanted && at + static_cast<std::size_t>(n) < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at + static_cast<std::size_t>(n)]);
    const bool fits =
        n == 1 ? byte >= lead.second_least && byte <= lead.second_most : (byte & 0xC0) == 0x80;
    if (!fits) break;
    ++n;
  }
  return n;
}

bool is_ascii(std::string_view text) noexcept {
  for (const char c : text)
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  return true;
}

/// True when `text` is certainly in `form`: no need to look at it closely.
bool surely_normal(std::string_view text, NormalForm form) noexcept {
  if (form != NormalForm::nfc) return is_ascii(text);
  // Code points below U+0300 (first bytes below 0xCC) neither compose nor change in NFC.
  for (const char c : text)
    if (static_cast<unsigned char>(c) >= 0xCC) return false;
  return true;
}

int utf8proc_options(NormalForm form) noexcept {
  switch (form) {
    case NormalForm::nfc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    case NormalForm::nfd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    case NormalForm::nfkc:
      return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case NormalForm::nfkd:
      return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    case NormalForm::none:
      break;
  }
  return 0;
}

void append_normalized(std::string_view valid, NormalForm form, std::string& out) {
  if (surely_normal(valid, form)) {
    out += valid;
    return;
  }
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()),
                   static_cast<utf8proc_ssize_t>(valid.size()), &mapped,
                   static_cast<utf8proc_option_t>(utf8proc_options(form)));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(mapped, std::free);
  if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  if (size < 0)
    out += valid;  // an input too long for the library: left as it is
  else
    out.append(reinterpret_cast<const char*>(mapped), static_cast<std::size_t>(size));
}

}  // namespace

Utf8Char utf8_at(std::string_view text, std::size_t at) noexcept {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {first, 1};
  const int bytes = lead_of(first).bytes;
  if (bytes == 0 || plausible_bytes(text, at, bytes) < bytes) return {0, 0};
  char32_t code_point = first & (0x7Fu >> bytes);
  for (int i = 1; i < bytes; ++i)
    code_point = (code_point << 6) |
                 (static_cast<unsigned char>(text[at + static_cast<std::size_t>(i)]) & 0x3Fu);
  return {code_point, bytes};
}

Utf8Char utf8_before(std::string_view text, std::size_t at) noexcept {
  for (std::size_t back = 1; back <= 4 && back <= at; ++back) {
    if ((static_cast<unsigned char>(text[at - back]) & 0xC0) == 0x80) continue;
    const Utf8Char c = utf8_at(text, at - back);
    return c.bytes == static_cast<int>(back) ? c : Utf8Char{0, 0};
  }
  return {0, 0};
}

std::size_t utf8_valid_bytes(std::string_view text, std::size_t at) noexcept {
  const std::size_t begin = at;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const int bytes = utf8_at(text, at).bytes;
    if (bytes == 0) break;
    at += static_cast<std::size_t>(bytes);
  }
  return at - begin;
}

void append_utf8(char32_t c, std::string& out) {
  const auto put = [&out](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

bool is_white_space(char32_t c) noexcept {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word_character(char32_t c) noexcept {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return c == 0x200C || c == 0x200D;
  }
}

std::optional<NormalForm> normal_form(std::string_view name) noexcept {
  constexpr std::pair<std::string_view, NormalForm> kForms[] = {{"none", NormalForm::none},
                                                                {"nfc", NormalForm::nfc},
                                                                {"nfd", NormalForm::nfd},
                                                                {"nfkc", NormalForm::nfkc},
                                                                {"nfkd", NormalForm::nfkd}};
  for (const auto& [text, form] : kForms)
    if (text == name) return form;
  return std::nullopt;
}

std::string normalize(std::string_view text, NormalForm form) {
  if (form == NormalForm::none || surely_normal(text, form)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t valid = utf8_valid_bytes(text, at);
    append_normalized(text.substr(at, valid), form, out);
    at += valid;
    if (at < text.size()) out += text[at++];
  }
  return out;
}

std::string Utf8Assembler::feed(std::string_view bytes) {
  rest_ += bytes;
  std::string out;
  std::size_t at = 0;
  while (at < rest_.size()) {
    const std::size_t valid = utf8_valid_bytes(rest_, at);
    out.append(rest_, at, valid);
    at += valid;
    if (at == rest_.size()) break;
    const int wanted = lead_of(static_cast<unsigned char>(rest_[at])).bytes;
    const int have = plausible_bytes(rest_, at, wanted);
    if (wanted > 0 && at + static_cast<std::size_t>(have) == rest_.size()) break;
    out += kReplacement;
    at += static_cast<std::size_t>(have);
  }
  rest_.erase(0, at);
  return out;
}

std::string Utf8Assembler::flush() {
  const bool cut = !rest_.empty();
  rest_.clear();
  return cut ? std::string(kReplacement) : std::string();
}

}  // namespace lq
