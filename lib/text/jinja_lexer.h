#pragma once
// Template source to tokens.
#include <string>
#include <string_view>
#include <vector>

namespace lq::jinja {

enum class TokenKind {
  text,  ///< outside of tags, white space already controlled
  block_begin,
  block_end,
  print_begin,
  print_end,
  name,
  string,  ///< its content
  integer,
  number,
  symbol,  ///< operator or bracket
  end,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;
};

/// Throws Error(input) "name:line: reason". The last token is `end`.
std::vector<Token> tokenize(std::string_view source, const std::string& name);

}  // namespace lq::jinja
