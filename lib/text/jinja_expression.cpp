#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "lib/base/quote.h"
#include "lib/text/jinja_parser.h"

namespace lq::jinja {

std::string ExpressionParser::found() const {
  switch (token().kind) {
    case TokenKind::block_end:
      return "the end of the tag";
    case TokenKind::print_end:
      return "the end of the tag";
    case TokenKind::end:
    case TokenKind::text:
    case TokenKind::block_begin:
    case TokenKind::print_begin:
      return "the end of the template";
    case TokenKind::string:
      return "the text " + quote(token().text);
    default:
      return quote(token().text);
  }
}
void ExpressionParser::expect_symbol(std::string_view text) {
  if (!take_symbol(text)) refuse("found ", found(), "; expected '", text, "'");
}
void ExpressionParser::expect_word(std::string_view text) {
  if (!take_word(text)) refuse("found ", found(), "; expected '", text, "'");
}
std::string ExpressionParser::expect_name(const char* what) {
  if (!is(TokenKind::name)) refuse("found ", found(), "; expected ", what);
  return take().text;
}

ExprPtr ExpressionParser::make(ExprKind kind, std::vector<ExprPtr> parts, std::string name) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = token().line;
  expr->name = std::move(name);
  for (const ExprPtr& part : parts)
    if (part) expr->height = std::max(expr->height, part->height + 1);
  if (expr->height > kMaxHeight) refuse("an expression has more than ", kMaxHeight, " links");
  expr->parts = std::move(parts);
  return expr;
}

ExprPtr ExpressionParser::constant(Value value) const {
  ExprPtr expr = make(ExprKind::constant);
  expr->value = std::move(value);
  return expr;
}

ExprPtr ExpressionParser::expression(bool with_choice) {
  const Level level(*this);
  ExprPtr value = any();
  while (with_choice && take_word("if")) {
    ExprPtr condition = any();
    ExprPtr other = take_word("else") ? expression() : nullptr;
    value = join(ExprKind::choice, "", std::move(value), std::move(condition), std::move(other));
  }
  return value;
}

bool ExpressionParser::tuple_ends(std::string_view end_word) const {
  return is(TokenKind::block_end) || is(TokenKind::print_end) || is(TokenKind::end) ||
         is_symbol(")") || (!end_word.empty() && is_word(end_word));
}

ExprPtr ExpressionParser::tuple(bool with_choice, std::string_view end_word) {
  std::vector<ExprPtr> parts;
  bool is_tuple = false;
  while (!tuple_ends(end_word)) {
    parts.push_back(expression(with_choice));
    if (!take_symbol(",")) break;
    is_tuple = true;
  }
  if (parts.empty()) refuse("found ", found(), "; expected an expression");
  if (!is_tuple) return std::move(parts[0]);
  return make(ExprKind::tuple, std::move(parts));
}

ExprPtr ExpressionParser::any() {
  ExprPtr left = all();
  while (take_word("or")) {
    ExprPtr right = all();
    left = join(ExprKind::any, "", std::move(left), std::move(right));
  }
  return left;
}

ExprPtr ExpressionParser::all() {
  ExprPtr left = inverted();
  while (take_word("and")) {
    ExprPtr right = inverted();
    left = join(ExprKind::all, "", std::move(left), std::move(right));
  }
  return left;
}

ExprPtr ExpressionParser::inverted() {
  const Level level(*this);
  if (take_word("not")) return join(ExprKind::invert, "", inverted());
  return comparison();
}

std::string ExpressionParser::comparison_operator() {
  static constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  if (is(TokenKind::symbol) &&
      std::find(kOperators.begin(), kOperators.end(), token().text) != kOperators.end())
    return take().text;
  if (take_word("in")) return "in";
  if (is_word("not") && token(1).kind == TokenKind::name && token(1).text == "in") {
    take();
    take();
    return "not in";
  }
  return "";
}

ExprPtr ExpressionParser::comparison() {
  ExprPtr first = sum();
  std::string sign = comparison_operator();
  if (sign.empty()) return first;
  std::vector<ExprPtr> parts;
  std::vector<std::string> labels = {""};
  parts.push_back(std::move(first));
  for (; !sign.empty(); sign = comparison_operator()) {
    labels.push_back(sign);
    parts.push_back(sum());
  }
  ExprPtr expr = make(ExprKind::comparison, std::move(parts));
  expr->labels = std::move(labels);
  return expr;
}

ExprPtr ExpressionParser::sum() {
  ExprPtr left = concatenation();
  while (is_symbol("+") || is_symbol("-")) {
    const std::string sign = take().text;
    ExprPtr right = concatenation();
    left = join(ExprKind::arithmetic, sign, std::move(left), std::move(right));
  }
  return left;
}

ExprPtr ExpressionParser::concatenation() {
  ExprPtr first = product();
  if (!is_symbol("~")) return first;
  std::vector<ExprPtr> parts;
  parts.push_back(std::move(first));
  while (take_symbol("~")) parts.push_back(product());
  return make(ExprKind::concatenate, std::move(parts));
}

ExprPtr ExpressionParser::product() {
  ExprPtr left = power();
  while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
    const std::string sign = take().text;
    ExprPtr right = power();
    left = join(ExprKind::arithmetic, sign, std::move(left), std::move(right));
  }
  return left;
}

ExprPtr ExpressionParser::power() {
  ExprPtr left = unary(true);
  while (take_symbol("**")) {
    ExprPtr right = unary(true);
    left = join(ExprKind::arithmetic, "**", std::move(left), std::move(right));
  }
  return left;
}

ExprPtr ExpressionParser::unary(bool with_filter) {
  const Level level(*this);
  ExprPtr value;
  if (take_symbol("-"))
    value = join(ExprKind::negative, "", unary(false));
  else if (take_symbol("+"))
    value = join(ExprKind::positive, "", unary(false));
  else
    value = primary();
  value = postfix(std::move(value));
  return with_filter ? filters(std::move(value), false) : std::move(value);
}

ExprPtr ExpressionParser::primary() {
  if (is(TokenKind::name)) {
    const std::string name = take().text;
    if (name == "true" || name == "True") return constant(Value::of(true));
    if (name == "false" || name == "False") return constant(Value::of(false));
    if (name == "none" || name == "None") return constant(Value::none());
    return make(ExprKind::name, {}, name);
  }
  if (is(TokenKind::string)) {
    std::string text;
    while (is(TokenKind::string)) text += take().text;
    return constant(Value::of(std::move(text)));
  }
  if (is(TokenKind::integer) || is(TokenKind::number)) return number();
  if (take_symbol("(")) {
    ExprPtr value = is_symbol(")") ? make(ExprKind::tuple) : tuple(true);
    expect_symbol(")");
    return value;
  }
  if (take_symbol("[")) return list();
  if (take_symbol("{")) return dict();
  refuse("found ", found(), "; expected an expression");
}

ExprPtr ExpressionParser::number() {
  const bool whole = is(TokenKind::integer);
  const std::string text = take().text;
  const char* const end = text.data() + text.size();
  std::int64_t integer = 0;
  double real = 0;
  const auto result =
      whole ? std::from_chars(text.data(), end, integer) : std::from_chars(text.data(), end, real);
  if (result.ec != std::errc() || result.ptr != end)
    refuse("the number ", quote(text), " is out of range");
  return constant(whole ? Value::of(integer) : Value::of(real));
}

ExprPtr ExpressionParser::list() {
  std::vector<ExprPtr> parts;
  while (!is_symbol("]")) {
    parts.push_back(expression());
    if (!take_symbol(",")) break;
  }
  expect_symbol("]");
  return make(ExprKind::list, std::move(parts));
}

ExprPtr ExpressionParser::dict() {
  std::vector<ExprPtr> parts;
  while (!is_symbol("}")) {
    parts.push_back(expression());
    expect_symbol(":");
    parts.push_back(expression());
    if (!take_symbol(",")) break;
  }
  expect_symbol("}");
  return make(ExprKind::dict, std::move(parts));
}

ExprPtr ExpressionParser::postfix(ExprPtr value) {
  for (;;) {
    if (take_symbol(".")) {
      if (is(TokenKind::integer)) {
        ExprPtr index = number();
        value = join(ExprKind::item, "", std::move(value), std::move(index));
      } else {
        std::string name = expect_name("the name of an attribute");
        value = join(ExprKind::attribute, std::move(name), std::move(value));
      }
    } else if (take_symbol("[")) {
      value = subscript(std::move(value));
    } else if (is_symbol("(")) {
      value = join(ExprKind::call, "", std::move(value));
      arguments(*value);
    } else {
      return value;
    }
  }
}

ExprPtr ExpressionParser::subscript(ExprPtr value) {
  value = subscript_part(std::move(value));
  expect_symbol("]");
  return value;
}

ExprPtr ExpressionParser::subscript_part(ExprPtr value) {
  std::array<ExprPtr, 3> bounds;
  std::size_t n = 0;
  bool is_slice = false;
  for (; n < bounds.size(); ++n) {
    if (!is_symbol(":") && !is_symbol("]")) bounds[n] = expression();
    if (!take_symbol(":")) break;
    is_slice = true;
  }
  if (!is_slice) {
    if (!bounds[0]) refuse("found ", found(), "; expected an index");
    return join(ExprKind::item, "", std::move(value), std::move(bounds[0]));
  }
  for (ExprPtr& bound : bounds)
    if (!bound) bound = constant(Value::none());
  return join(ExprKind::slice, "", std::move(value), std::move(bounds[0]), std::move(bounds[1]),
              std::move(bounds[2]));
}

void ExpressionParser::arguments(Expr& call) {
  expect_symbol("(");
  call.labels.resize(call.parts.size());
  bool named = false;
  while (!is_symbol(")")) {
    std::string label;
    if (take_symbol("*")) {
      label = "*";
    } else if (take_symbol("**")) {
      label = "**";
    } else if (is(TokenKind::name) && token(1).kind == TokenKind::symbol && token(1).text == "=") {
      label = take().text;
      take();
    }
    if (label.empty() && named) refuse("an argument by position follows one by name");
    named = named || (!label.empty() && label != "*");
    call.parts.push_back(expression());
    call.height = std::max(call.height, call.parts.back()->height + 1);
    call.labels.push_back(std::move(label));
    if (!take_symbol(",")) break;
  }
  expect_symbol(")");
  if (call.height > kMaxHeight) refuse("an expression has more than ", kMaxHeight, " links");
}

ExprPtr ExpressionParser::filters(ExprPtr value, bool inside) {
  for (bool first = inside;; first = false) {
    if (first || take_symbol("|")) {
      std::string name = expect_name("the name of a filter");
      while (take_symbol(".")) (name += '.') += expect_name("the name of a filter");
      value = join(ExprKind::filter, std::move(name), std::move(value));
      if (is_symbol("(")) arguments(*value);
    } else if (!inside && take_word("is")) {
      value = test(std::move(value));
    } else if (!inside && is_symbol("(")) {
      value = join(ExprKind::call, "", std::move(value));
      arguments(*value);
    } else {
      return value;
    }
  }
}

ExprPtr ExpressionParser::test(ExprPtr value) {
  const bool negated = take_word("not");
  std::string name = expect_name("the name of a test");
  while (take_symbol(".")) (name += '.') += expect_name("the name of a test");
  ExprPtr expr = join(ExprKind::test, std::move(name), std::move(value));
  expr->labels.resize(1);
  const bool literal = is(TokenKind::string) || is(TokenKind::integer) || is(TokenKind::number) ||
                       is_symbol("[") || is_symbol("{");
  const bool word = is(TokenKind::name) && !is_word("else") && !is_word("or") && !is_word("and");
  if (is_symbol("(")) {
    arguments(*expr);
  } else if (literal || word) {
    if (is_word("is")) refuse("tests cannot be chained with 'is'");
    expr->parts.push_back(postfix(primary()));
    expr->labels.emplace_back();
    expr->height = std::max(expr->height, expr->parts.back()->height + 1);
  }
  return negated ? join(ExprKind::invert, "", std::move(expr)) : std::move(expr);
}

}  // namespace lq::jinja
