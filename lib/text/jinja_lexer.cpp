#include "lib/text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

/// LF only, without one final newline.
std::string normal_newlines(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

constexpr std::array<std::string_view, 27> kSymbols = {
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "(", ")",
    "[",  "]",  "{",  "}",  "<",  ">",  "=", ".", ":", "|", ",", ";", "!"};

bool is_digit_char(char c) { return c >= '0' && c <= '9'; }
bool is_name_char(char c) {
  return is_digit_char(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name)
      : source_(normal_newlines(source)), rest_(source_), name_(name) {}

  std::vector<Token> run() {
    while (!rest_.empty()) {
      const std::size_t start = next_tag();
      if (start == std::string_view::npos) {
        push(TokenKind::text, rest_);
        advance(rest_.size());
        break;
      }
      tag(start);
    }
    push(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(ErrorKind::input, name_, ":", line_, ": ", parts...);
  }
  bool at(std::string_view text, std::size_t offset = 0) const {
    return rest_.substr(std::min(offset, rest_.size()), text.size()) == text;
  }
  void advance(std::size_t n) {
    line_ += static_cast<int>(
        std::count(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(n), '\n'));
    if (n > 0) line_starting_ = rest_[n - 1] == '\n';
    rest_.remove_prefix(n);
  }
  void push(TokenKind kind, std::string_view text) {
    if (kind == TokenKind::text && text.empty()) return;
    tokens_.push_back({kind, line_, std::string(text)});
  }

  std::size_t next_tag() const {
    for (std::size_t i = rest_.find('{'); i != std::string_view::npos; i = rest_.find('{', i + 1))
      if (i + 1 < rest_.size() &&
          (rest_[i + 1] == '%' || rest_[i + 1] == '{' || rest_[i + 1] == '#'))
        return i;
    return std::string_view::npos;
  }

  /// The text before a tag at `start`, as the tag's sign and lstrip_blocks leave it.
  std::string_view before(std::size_t start) const {
    const std::string_view text = rest_.substr(0, start);
    const char sign = start + 2 < rest_.size() ? rest_[start + 2] : '\0';
    if (sign == '-') return strip(text, nullptr, false, true);
    if (sign == '+' || rest_[start + 1] == '{') return text;
    const std::size_t line = text.rfind('\n') + 1;
    if (line == 0 && !line_starting_) return text;
    return strip(text.substr(line), nullptr, true, false).empty() ? text.substr(0, line) : text;
  }

  /// The length of a tag's end that `closing` names, with the white space it takes; 0 if not here.
  std::size_t end_length(std::string_view closing) const {
    if (at("-") && at(closing, 1)) {
      const std::string_view after = rest_.substr(1 + closing.size());
      return 1 + closing.size() + after.size() - strip(after, nullptr, true, false).size();
    }
    if (closing != "}}" && at("+") && at(closing, 1)) return 1 + closing.size();
    if (!at(closing)) return 0;
    return closing.size() + (closing != "}}" && at("\n", closing.size()) ? 1 : 0);
  }

  void tag(std::size_t start) {
    push(TokenKind::text, before(start));
    advance(start);
    const char kind = rest_[1];
    const bool sign = rest_.size() > 2 && (rest_[2] == '-' || rest_[2] == '+');
    if (kind == '%' && raw_block(sign ? 3 : 2)) return;
    const int opened = line_;
    advance(sign ? 3 : 2);
    if (kind == '#') return comment(opened);
    const std::string_view closing = kind == '%' ? "%}" : "}}";
    push(kind == '%' ? TokenKind::block_begin : TokenKind::print_begin, "");
    for (;;) {
      advance(rest_.size() - strip(rest_, nullptr, true, false).size());
      const std::size_t n = open_.empty() ? end_length(closing) : 0;
      if (n != 0) {
        push(kind == '%' ? TokenKind::block_end : TokenKind::print_end, "");
        advance(n);
        return;
      }
      if (rest_.empty()) refuse("the tag of line ", opened, " has no end '", closing, "'");
      token();
    }
  }

  void comment(int opened) {
    for (std::size_t n; !rest_.empty(); advance(1))
      if ((n = end_length("#}")) != 0) return advance(n);
    refuse("the comment of line ", opened, " has no end '#}'");
  }

  std::size_t spaces(std::size_t from) const {
    const std::string_view text = rest_.substr(std::min(from, rest_.size()));
    return from + text.size() - strip(text, nullptr, true, false).size();
  }

  /// Takes `{% raw %} ... {% endraw %}`; false when the tag here is another one.
  bool raw_block(std::size_t after_sign) {
    std::size_t i = spaces(after_sign);
    if (!at("raw", i)) return false;
    i = spaces(i + 3);
    if (at("-%}", i))
      i = spaces(i + 3);
    else if (at("%}", i))
      i += 2;
    else
      return false;
    const int opened = line_;
    advance(i);
    for (std::size_t start = 0; (start = rest_.find("{%", start)) != std::string_view::npos;
         ++start) {
      const bool sign = at("-", start + 2) || at("+", start + 2);
      std::size_t j = spaces(start + (sign ? 3 : 2));
      if (!at("endraw", j)) continue;
      j = spaces(j + 6);
      if (!at("%}", j) && !at("-%}", j) && !at("+%}", j)) continue;
      push(TokenKind::text, before(start));
      advance(j);
      advance(end_length("%}"));
      return true;
    }
    refuse("the raw block of line ", opened, " has no end");
  }

  void token() {
    const char c = rest_[0];
    if (c == '\'' || c == '"') return text_literal(c);
    if (is_digit_char(c)) return number();
    if (is_name_char(c)) {
      std::size_t n = 0;
      while (n < rest_.size() && is_name_char(rest_[n])) ++n;
      push(TokenKind::name, rest_.substr(0, n));
      return advance(n);
    }
    for (const std::string_view symbol : kSymbols)
      if (at(symbol)) {
        balance(symbol);
        push(TokenKind::symbol, symbol);
        return advance(symbol.size());
      }
    std::size_t n = 0;
    next_char(rest_, n);
    refuse("unexpected character ", quote(rest_.substr(0, n)));
  }

  /// Inside brackets a tag does not end: '}}' may close two dicts.
  void balance(std::string_view symbol) {
    if (symbol == "(" || symbol == "[" || symbol == "{")
      open_ += symbol == "(" ? ')' : symbol == "[" ? ']' : '}';
    if (symbol != ")" && symbol != "]" && symbol != "}") return;
    if (open_.empty()) refuse("unexpected '", symbol, "'");
    if (open_.back() != symbol[0])
      refuse("unexpected '", symbol, "'; expected '", open_.back(), "'");
    open_.pop_back();
  }

  void number() {
    const auto digits = [&](std::size_t i) {
      while (i < rest_.size() &&
             (is_digit_char(rest_[i]) ||
              (rest_[i] == '_' && i + 1 < rest_.size() && is_digit_char(rest_[i + 1]))))
        ++i;
      return i;
    };
    const auto digit_at = [&](std::size_t i) {
      return i < rest_.size() && is_digit_char(rest_[i]);
    };
    std::size_t n = digits(0);
    bool whole = true;
    if (at(".", n) && digit_at(n + 1)) {
      whole = false;
      n = digits(n + 1);
    }
    if (at("e", n) || at("E", n)) {
      const std::size_t sign = at("+", n + 1) || at("-", n + 1) ? 1 : 0;
      if (digit_at(n + 1 + sign)) {
        whole = false;
        n = digits(n + 1 + sign);
      }
    }
    std::string text(rest_.substr(0, n));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    if (whole && text.size() > 1 && text[0] == '0' &&
        text.find_first_not_of('0') != std::string::npos)
      refuse("a number cannot start with 0: ", quote(text));
    push(whole ? TokenKind::integer : TokenKind::number, text);
    advance(n);
  }

  void text_literal(char quote_char) {
    std::size_t n = 1;
    while (n < rest_.size() && rest_[n] != quote_char) n += rest_[n] == '\\' ? 2 : 1;
    if (n >= rest_.size()) refuse("a text has no closing ", quote_char);
    push(TokenKind::string, unescape(rest_.substr(1, n - 1)));
    advance(n + 1);
  }

  std::string unescape(std::string_view text) const {
    std::string out;
    for (std::size_t i = 0; i < text.size();) {
      if (text[i] != '\\') {
        out += text[i++];
        continue;
      }
      const char c = text[i + 1];  // a text does not end in a lone backslash
      static constexpr std::string_view kCodes = "\\'\"abfnrtv", kChars = "\\'\"\a\b\f\n\r\t\v";
      const std::size_t simple = kCodes.find(c);
      i += 2;
      if (simple != std::string_view::npos)
        out += kChars[simple];
      else if (c == 'x' || c == 'u' || c == 'U')
        code_point(out, text, i, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
      else if (c >= '0' && c <= '7')
        code_point(out, text, --i, 3, 8);
      else if (c == 'N')
        refuse("characters by name are not supported: write \\u and the code");
      else if (c != '\n')
        (out += '\\') += c;
    }
    return out;
  }

  /// An octal code may be shorter than `length`.
  void code_point(std::string& out, std::string_view text, std::size_t& i, std::size_t length,
                  char32_t base) const {
    char32_t c = 0;
    std::size_t n = 0;
    for (; n < length && i < text.size(); ++n, ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (!std::isxdigit(byte) || (base == 8 && (byte < '0' || byte > '7'))) break;
      c = c * base +
          static_cast<char32_t>(std::isdigit(byte) ? byte - '0' : (byte | 0x20) - 'a' + 10);
    }
    if ((base == 16 && n < length) || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
      refuse("a text has an escape that is no character");
    append_char(out, c);
  }

  const std::string source_;
  std::string_view rest_;
  const std::string& name_;
  std::vector<Token> tokens_;
  std::string open_;  ///< closing brackets that are due
  int line_ = 1;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& name) {
  if (!valid_utf8(source)) fail(ErrorKind::input, name, ": the template is not UTF-8");
  return Lexer(source, name).run();
}

}  // namespace lq::jinja
