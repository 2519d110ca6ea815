#pragma once
// What the parsers of expressions and statements share.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/text/jinja_ast.h"
#include "lib/text/jinja_lexer.h"

namespace lq::jinja {

/// Nested brackets, operators and statements; chains of operators.
constexpr int kMaxNesting = 200, kMaxHeight = 500;

/// Expressions, by Jinja's grammar: unary minus binds tightest, then ** // ~ + comparisons.
class ExpressionParser {
 public:
  ExpressionParser(std::vector<Token> tokens, const std::string& name)
      : name_(name), tokens_(std::move(tokens)) {}

 protected:
  /// One more level of nesting while it lives.
  class Level {
   public:
    explicit Level(ExpressionParser& parser) : parser_(parser) {
      if (++parser.nesting_ > kMaxNesting)
        parser.refuse("the template is nested more than ", kMaxNesting, " deep");
    }
    ~Level() { --parser_.nesting_; }
    Level(const Level&) = delete;

   private:
    ExpressionParser& parser_;
  };

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(ErrorKind::input, name_, ":", token().line, ": ", parts...);
  }
  const Token& token(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  Token take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool is(TokenKind kind) const { return token().kind == kind; }
  bool is_symbol(std::string_view text) const {
    return is(TokenKind::symbol) && token().text == text;
  }
  bool is_word(std::string_view text) const { return is(TokenKind::name) && token().text == text; }
  bool take_symbol(std::string_view text) { return is_symbol(text) && (take(), true); }
  bool take_word(std::string_view text) { return is_word(text) && (take(), true); }
  void expect_symbol(std::string_view text);
  void expect_word(std::string_view text);
  std::string expect_name(const char* what);
  std::string found() const;

  ExprPtr expression(bool with_choice = true);
  /// Expressions with commas between them are a tuple.
  ExprPtr tuple(bool with_choice, std::string_view end_word = "");
  ExprPtr postfix(ExprPtr value);
  ExprPtr filters(ExprPtr value, bool inside);
  ExprPtr primary();
  ExprPtr make(ExprKind kind, std::vector<ExprPtr> parts = {}, std::string name = "") const;
  ExprPtr constant(Value value) const;

 private:
  template <class... Ptr>
  ExprPtr join(ExprKind kind, std::string name, Ptr... parts) const {
    std::vector<ExprPtr> list;
    (list.push_back(std::move(parts)), ...);
    return make(kind, std::move(list), std::move(name));
  }
  bool tuple_ends(std::string_view end_word) const;
  ExprPtr any();
  ExprPtr all();
  ExprPtr inverted();
  ExprPtr comparison();
  std::string comparison_operator();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter);
  ExprPtr number();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr subscript(ExprPtr value);
  ExprPtr subscript_part(ExprPtr value);
  ExprPtr test(ExprPtr value);
  void arguments(Expr& call);

  const std::string& name_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int nesting_ = 0;
};

}  // namespace lq::jinja
