#pragma once
// UTF-8 that may be broken, and the few character properties that tokenizers need.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lq {

/// A code point and the bytes it takes. `bytes` is 0 for a byte that begins no valid character
/// (overlong forms, surrogates and values above U+10FFFF are not valid).
struct Utf8Char {
  char32_t code_point;
  int bytes;
};
/// The character at text[at]; at < text.size().
Utf8Char utf8_at(std::string_view text, std::size_t at) noexcept;
/// The character that ends before text[at]; 0 < at <= text.size().
Utf8Char utf8_before(std::string_view text, std::size_t at) noexcept;
/// Bytes from text[at] on that are valid UTF-8.
std::size_t utf8_valid_bytes(std::string_view text, std::size_t at) noexcept;
/// Appends a code point (a Unicode scalar value) as UTF-8.
void append_utf8(char32_t code_point, std::string& out);

/// Property White_Space.
bool is_white_space(char32_t code_point) noexcept;
/// Letters, marks, decimal and letter numbers, connecting punctuation: \w of regular expressions.
bool is_word_character(char32_t code_point) noexcept;

enum class NormalForm { none, nfc, nfd, nfkc, nfkd };
/// The form with a name of tokenizer.lq.normalizer ("none", "nfc", ...), or nothing.
std::optional<NormalForm> normal_form(std::string_view name) noexcept;
/// `text` in a normal form. Bytes that are not valid UTF-8 stay as they are and separate the parts
/// that are normalised.
std::string normalize(std::string_view text, NormalForm form);

/// Cuts a stream of bytes into whole characters, so that a character whose bytes come in several
/// tokens is never shown in part. What cannot be UTF-8 comes out as U+FFFD, one for each longest
/// beginning of a character (the rule of the Unicode standard, and of Python's errors="replace").
class Utf8Assembler {
 public:
  /// The characters completed by `bytes`; an incomplete one at the end is kept for the next call.
  std::string feed(std::string_view bytes);
  /// U+FFFD if an incomplete character is left, else nothing. The object is then as new.
  std::string flush();

 private:
  std::string rest_;
};

}  // namespace lq
