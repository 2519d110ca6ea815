#include "lib/text/jinja_parser.h"

#include <algorithm>

#include "lib/base/quote.h"

namespace lq::jinja {
namespace {

class Parser : ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body run() {
    Body body = statements({});
    if (!is(TokenKind::end)) refuse("found ", found(), " outside of a tag");
    return body;
  }

 private:
  using StmtPtr = std::unique_ptr<Stmt>;

  StmtPtr make_statement(StmtKind kind) const {
    auto statement = std::make_unique<Stmt>();
    statement->kind = kind;
    statement->line = token().line;
    return statement;
  }
  void end_tag() {
    if (!is(TokenKind::block_end)) refuse("found ", found(), "; expected the end of the tag");
    take();
  }

  /// Up to a tag that starts with one of `ends`, whose name is then the current token.
  Body statements(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Body body;
    for (;;) {
      if (is(TokenKind::text)) {
        StmtPtr text = make_statement(StmtKind::text);
        text->text = take().text;
        body.push_back(std::move(text));
      } else if (is(TokenKind::print_begin)) {
        take();
        StmtPtr output = make_statement(StmtKind::output);
        output->value = tuple(true);
        if (!is(TokenKind::print_end)) refuse("found ", found(), "; expected the end of the tag");
        take();
        body.push_back(std::move(output));
      } else if (is(TokenKind::block_begin)) {
        take();
        if (is(TokenKind::name) && std::find(ends.begin(), ends.end(), token().text) != ends.end())
          return body;
        body.push_back(statement());
      } else {
        if (ends.size() != 0)
          refuse("found the end of the template; expected '", *(ends.end() - 1), "'");
        return body;
      }
    }
  }

  /// A body whose end tag is `end`.
  Body block(std::string_view end) {
    end_tag();
    Body body = statements({end});
    take();
    end_tag();
    return body;
  }

  StmtPtr statement() {
    if (is_word("for")) return loop();
    if (is_word("if")) return condition();
    if (is_word("set")) return assignment();
    if (is_word("macro")) return macro();
    if (is_word("call")) return call_block();
    if (is_word("filter")) return filter_block();
    if (is_word("with")) return with();
    if (is_word("generation")) {
      StmtPtr scope = make_statement(StmtKind::scope);
      take();
      scope->body = block("endgeneration");
      return scope;
    }
    if (is_word("break") || is_word("continue")) {
      if (loops_ == 0) refuse("'", token().text, "' outside of a loop");
      StmtPtr jump = make_statement(is_word("break") ? StmtKind::stop : StmtKind::next);
      take();
      end_tag();
      return jump;
    }
    refuse("found ", found(), "; expected the name of a statement");
  }

  Target target(std::string_view end_word) {
    Target whole;
    bool is_tuple = false;
    do {
      if (is_symbol("=") || (!end_word.empty() && is_word(end_word))) break;  // a comma at the end
      whole.parts.push_back(single_target());
      is_tuple = is_tuple || is_symbol(",");
    } while (take_symbol(","));
    if (whole.parts.empty()) refuse("found ", found(), "; expected a name");
    if (is_tuple) return whole;
    Target single = std::move(whole.parts[0]);
    return single;
  }

  Target single_target() {
    const Level level(*this);
    if (take_symbol("(")) {
      Target inner = target("");
      expect_symbol(")");
      return inner;
    }
    Target single;
    single.name = expect_name("a name");
    for (const char* word : {"true", "True", "false", "False", "none", "None"})
      if (single.name == word) refuse("cannot assign to ", quote(single.name));
    return single;
  }

  StmtPtr loop() {
    StmtPtr loop = make_statement(StmtKind::loop);
    take();
    loop->target = target("in");
    expect_word("in");
    loop->value = tuple(false, "recursive");
    if (take_word("if")) loop->test = expression();
    loop->recursive = take_word("recursive");
    end_tag();
    ++loops_;
    loop->body = statements({"else", "endfor"});
    --loops_;
    if (take().text == "else") {
      end_tag();
      loop->otherwise = statements({"endfor"});
      take();
    }
    end_tag();
    return loop;
  }

  StmtPtr condition() {
    StmtPtr condition = make_statement(StmtKind::condition);
    for (std::string word = take().text; word != "endif"; word = take().text) {
      ExprPtr test = word == "else" ? nullptr : tuple(false);
      end_tag();
      const bool last = !test;
      Body body = last ? statements({"endif"}) : statements({"elif", "else", "endif"});
      condition->branches.emplace_back(std::move(test), std::move(body));
    }
    end_tag();
    return condition;
  }

  StmtPtr assignment() {
    StmtPtr set = make_statement(StmtKind::set);
    take();
    if (is(TokenKind::name) && token(1).kind == TokenKind::symbol && token(1).text == ".") {
      set->target.name = take().text;
      take();
      set->target.attribute = expect_name("the name of an attribute");
    } else {
      set->target = target("");
    }
    if (take_symbol("=")) {
      set->value = tuple(true);
      end_tag();
      return set;
    }
    set->kind = StmtKind::set_block;
    if (take_symbol("|")) set->value = filters(make(ExprKind::name, {}, kBlockText), true);
    set->body = block("endset");
    return set;
  }

  void parameters(Stmt& statement) {
    expect_symbol("(");
    while (!is_symbol(")")) {
      std::string name = expect_name("the name of a parameter");
      ExprPtr fallback = take_symbol("=") ? expression() : nullptr;
      if (!fallback && !statement.parameters.empty() && statement.parameters.back().second)
        refuse("a parameter without default follows one with default");
      statement.parameters.emplace_back(std::move(name), std::move(fallback));
      if (!take_symbol(",")) break;
    }
    expect_symbol(")");
  }

  /// The body of a macro or caller: no loop of outside can be left from it.
  Body function_body(std::string_view end) {
    const int outer = std::exchange(loops_, 0);
    Body body = block(end);
    loops_ = outer;
    return body;
  }

  StmtPtr macro() {
    StmtPtr macro = make_statement(StmtKind::macro);
    take();
    macro->text = expect_name("the name of the macro");
    parameters(*macro);
    macro->body = function_body("endmacro");
    return macro;
  }

  StmtPtr call_block() {
    StmtPtr call = make_statement(StmtKind::call_block);
    take();
    if (is_symbol("(")) parameters(*call);
    call->value = expression();
    if (call->value->kind != ExprKind::call) refuse("'call' needs a call of a macro");
    call->body = function_body("endcall");
    return call;
  }

  StmtPtr filter_block() {
    StmtPtr filter = make_statement(StmtKind::filter_block);
    take();
    filter->value = filters(make(ExprKind::name, {}, kBlockText), true);
    filter->body = block("endfilter");
    return filter;
  }

  StmtPtr with() {
    StmtPtr with = make_statement(StmtKind::with);
    take();
    while (!is(TokenKind::block_end)) {
      std::string name = expect_name("a name");
      expect_symbol("=");
      with->parameters.emplace_back(std::move(name), expression());
      if (!take_symbol(",")) break;
    }
    with->body = block("endwith");
    return with;
  }

  int loops_ = 0;  ///< around the current statement
};

}  // namespace

Body parse(std::string_view source, const std::string& name) {
  return Parser(tokenize(source, name), name).run();
}

}  // namespace lq::jinja
