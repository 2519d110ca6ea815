#include "lib/text/jinja_eval.h"

#include <algorithm>
#include <array>
#include <optional>

#include "lib/base/quote.h"
#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope; scope = scope->parent.get())
    for (const auto& [key, value] : scope->names)
      if (key == name) return &value;
  return nullptr;
}

void Scope::set(const std::string& name, Value value) {
  for (auto& [key, old] : names)
    if (key == name) {
      old = std::move(value);
      return;
    }
  names.emplace_back(name, std::move(value));
}

namespace {
ScopePtr inner(const ScopePtr& scope) {
  auto child = std::make_shared<Scope>();
  child->parent = scope;
  return child;
}

/// One deeper while it lives.
class Deeper {
 public:
  explicit Deeper(Runtime& runtime) : runtime_(runtime) {
    ++runtime_.depth;
    runtime_.check_depth();
  }
  ~Deeper() { --runtime_.depth; }
  Deeper(const Deeper&) = delete;

 private:
  Runtime& runtime_;
};
}  // namespace

Value Evaluator::name(const Expr& expr, const ScopePtr& scope) {
  if (const Value* const value = scope->find(expr.name)) return *value;
  const Value function = global_function(runtime_, expr.name);
  if (!function.is(Kind::undefined)) return function;
  return Value::undefined(quote(expr.name) + " is undefined");
}

Arguments Evaluator::arguments(const Expr& expr, const ScopePtr& scope) {
  Arguments arguments;
  for (std::size_t i = 1; i < expr.parts.size(); ++i) {
    Value value = evaluate(*expr.parts[i], scope);
    const std::string& label = expr.labels[i];
    if (label.empty()) {
      arguments.positional.push_back(std::move(value));
    } else if (label == "*") {
      for (Value& one : items_of(runtime_, value)) arguments.positional.push_back(std::move(one));
    } else if (label == "**") {
      if (!value.is(Kind::dict)) runtime_.refuse("'**' needs a dict, not a ", type_name(value));
      for (const auto& [key, one] : value.dict().members) {
        if (!key.is(Kind::text)) runtime_.refuse("'**' needs texts as keys");
        arguments.named.emplace_back(key.text(), one);
      }
    } else {
      arguments.named.emplace_back(label, std::move(value));
    }
  }
  return arguments;
}

Value Evaluator::call(const Value& callee, const Arguments& arguments) {
  if (callee.is(Kind::undefined)) runtime_.refuse(callee.hint());
  if (callee.is(Kind::callable)) return callee.callable().call(runtime_, arguments);
  if (callee.is(Kind::loop)) {
    if (!callee.loop().again) runtime_.refuse("only a loop with 'recursive' can be called");
    return callee.loop().again(bind(runtime_, "loop", arguments, {"items"}, 1)[0]);
  }
  runtime_.refuse("a ", type_name(callee), " cannot be called");
}

bool Evaluator::holds(const std::string& sign, const Value& a, const Value& b) {
  if (sign == "==") return equal(runtime_, a, b);
  if (sign == "!=") return !equal(runtime_, a, b);
  if (sign == "in") return contains(runtime_, b, a);
  if (sign == "not in") return !contains(runtime_, b, a);
  const int order = compare(runtime_, a, b);
  return sign == "<" ? order < 0 : sign == "<=" ? order <= 0 : sign == ">" ? order > 0 : order >= 0;
}

Value Evaluator::comparison(const Expr& expr, const ScopePtr& scope) {
  Value left = evaluate(*expr.parts[0], scope);
  for (std::size_t i = 1; i < expr.parts.size(); ++i) {
    Value right = evaluate(*expr.parts[i], scope);
    if (!holds(expr.labels[i], left, right)) return Value::of(false);
    left = std::move(right);
  }
  return Value::of(true);
}

Value Evaluator::concatenation(const Expr& expr, const ScopePtr& scope) {
  std::string text;
  for (const ExprPtr& part : expr.parts) text += to_text(runtime_, evaluate(*part, scope));
  runtime_.reserve(text.size());
  return Value::of(std::move(text));
}

Value Evaluator::collection(const Expr& expr, const ScopePtr& scope) {
  if (expr.kind == ExprKind::dict) {
    std::vector<std::pair<Value, Value>> members;
    for (std::size_t i = 0; i < expr.parts.size(); i += 2) {
      Value key = evaluate(*expr.parts[i], scope);
      put(runtime_, members, std::move(key), evaluate(*expr.parts[i + 1], scope));
    }
    return runtime_.dict(std::move(members));
  }
  Values items;
  for (const ExprPtr& part : expr.parts) items.push_back(evaluate(*part, scope));
  return runtime_.list(std::move(items), expr.kind == ExprKind::list ? Style::list : Style::tuple);
}

Value Evaluator::choice(const Expr& expr, const ScopePtr& scope) {
  if (truth(evaluate(*expr.parts[1], scope))) return evaluate(*expr.parts[0], scope);
  if (expr.parts[2]) return evaluate(*expr.parts[2], scope);
  return Value::undefined("an 'if' without 'else' was false");
}

Value Evaluator::slice_of(const Expr& expr, const ScopePtr& scope) {
  std::array<Value, 4> parts;
  for (std::size_t i = 0; i < parts.size(); ++i) parts[i] = evaluate(*expr.parts[i], scope);
  return slice(runtime_, parts[0], parts[1], parts[2], parts[3]);
}

/// A filter or test.
Value Evaluator::applied(const Expr& expr, const ScopePtr& scope) {
  const Value subject = evaluate(*expr.parts[0], scope);
  const Arguments given = arguments(expr, scope);
  if (expr.kind == ExprKind::filter) return apply_filter(runtime_, expr.name, subject, given);
  return Value::of(apply_test(runtime_, expr.name, subject, given));
}

Value Evaluator::evaluate(const Expr& expr, const ScopePtr& scope) {
  const Deeper deeper(runtime_);
  runtime_.line = expr.line;
  runtime_.step();
  const auto part = [&](std::size_t i) { return evaluate(*expr.parts[i], scope); };
  switch (expr.kind) {
    case ExprKind::constant:
      return expr.value;
    case ExprKind::name:
      return name(expr, scope);
    case ExprKind::list:
    case ExprKind::tuple:
    case ExprKind::dict:
      return collection(expr, scope);
    case ExprKind::attribute:
      return attribute(runtime_, part(0), expr.name);
    case ExprKind::item: {
      const Value container = part(0);
      return item(runtime_, container, part(1));
    }
    case ExprKind::slice:
      return slice_of(expr, scope);
    case ExprKind::call: {
      const Value callee = part(0);
      return call(callee, arguments(expr, scope));
    }
    case ExprKind::filter:
    case ExprKind::test:
      return applied(expr, scope);
    case ExprKind::negative:
      return negative(runtime_, part(0));
    case ExprKind::positive:
      return arithmetic(runtime_, "+", Value::of(std::int64_t{0}), part(0));
    case ExprKind::invert:
      return Value::of(!truth(part(0)));
    case ExprKind::all: {
      Value left = part(0);
      return truth(left) ? part(1) : left;
    }
    case ExprKind::any: {
      Value left = part(0);
      return truth(left) ? left : part(1);
    }
    case ExprKind::choice:
      return choice(expr, scope);
    case ExprKind::comparison:
      return comparison(expr, scope);
    case ExprKind::arithmetic: {
      const Value left = part(0);
      return arithmetic(runtime_, expr.name, left, part(1));
    }
    case ExprKind::concatenate:
      return concatenation(expr, scope);
  }
  return Value();
}

void Evaluator::write(std::string_view text, std::string& out) {
  runtime_.step(text.size() / 16);
  if (text.size() >
      runtime_.limits().output_bytes - std::min(out.size(), runtime_.limits().output_bytes))
    runtime_.refuse("the template prints more than ", runtime_.limits().output_bytes, " bytes");
  out += text;
}

std::string Evaluator::captured(const Body& body, const ScopePtr& scope) {
  std::string text;
  run(body, inner(scope), text);
  return text;
}

Jump Evaluator::run(const Body& body, const ScopePtr& scope, std::string& out) {
  for (const auto& statement : body) {
    const Jump jump = run(*statement, scope, out);
    if (jump != Jump::none) return jump;
  }
  return Jump::none;
}

Jump Evaluator::run(const Stmt& statement, const ScopePtr& scope, std::string& out) {
  const Deeper deeper(runtime_);
  runtime_.line = statement.line;
  runtime_.step();
  switch (statement.kind) {
    case StmtKind::text:
      write(statement.text, out);
      break;
    case StmtKind::output: {
      const Value value = evaluate(*statement.value, scope);
      if (value.is(Kind::text))
        write(value.text(), out);
      else
        write(to_text(runtime_, value), out);
      break;
    }
    case StmtKind::condition:
      for (const auto& [test, body] : statement.branches)
        if (!test || truth(evaluate(*test, scope))) return run(body, scope, out);
      break;
    case StmtKind::loop:
      loop(statement, evaluate(*statement.value, scope), 0, scope, out);
      break;
    case StmtKind::set:
      assign(statement.target, evaluate(*statement.value, scope), scope);
      break;
    case StmtKind::set_block: {
      const Value text = Value::of(captured(statement.body, scope));
      assign(statement.target, filtered(statement, text, scope), scope);
      break;
    }
    case StmtKind::macro:
      scope->set(statement.text, macro(statement, scope));
      break;
    case StmtKind::call_block:
      call_block(statement, scope, out);
      break;
    case StmtKind::filter_block: {
      const Value text = Value::of(captured(statement.body, scope));
      write(to_text(runtime_, filtered(statement, text, scope)), out);
      break;
    }
    case StmtKind::with: {
      const ScopePtr child = inner(scope);
      for (const auto& [key, value] : statement.parameters)
        child->set(key, evaluate(*value, scope));
      return run(statement.body, child, out);
    }
    case StmtKind::scope:
      return run(statement.body, inner(scope), out);
    case StmtKind::stop:
      return Jump::stop;
    case StmtKind::next:
      return Jump::next;
  }
  return Jump::none;
}

Value Evaluator::filtered(const Stmt& statement, const Value& text, const ScopePtr& scope) {
  if (!statement.value) return text;
  const ScopePtr child = inner(scope);
  child->set(kBlockText, text);
  return evaluate(*statement.value, child);
}

void Evaluator::assign(const Target& target, const Value& value, const ScopePtr& scope) {
  if (!target.parts.empty()) {
    const Values items = items_of(runtime_, value);
    if (items.size() != target.parts.size())
      runtime_.refuse("found ", items.size(), " values; expected ", target.parts.size());
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i], scope);
    return;
  }
  if (target.attribute.empty()) {
    scope->set(target.name, value);
    return;
  }
  const Value* const space = scope->find(target.name);
  if (!space || !space->is(Kind::name_space))
    runtime_.refuse("cannot set an attribute of ", quote(target.name), ", which is no namespace");
  if (target.attribute[0] == '_')
    runtime_.refuse("cannot set the attribute ", quote(target.attribute), " of a namespace");
  auto& members = space->name_space().members;
  const auto at = std::find_if(members.begin(), members.end(), [&](const auto& member) {
    return member.first == target.attribute;
  });
  if (at == members.end())
    members.emplace_back(target.attribute, value);
  else
    at->second = Value(value);
}

void Evaluator::loop(const Stmt& statement, const Value& source, int level, const ScopePtr& scope,
                     std::string& out) {
  Values items = items_of(runtime_, source);
  if (statement.test) {
    Values kept;
    for (const Value& one : items) {
      const ScopePtr child = inner(scope);
      assign(statement.target, one, child);
      if (truth(evaluate(*statement.test, child))) kept.push_back(one);
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    run(statement.otherwise, inner(scope), out);
    return;
  }
  const auto state = std::make_shared<Loop>();
  for (const Value& one : items) state->depth = std::max(state->depth, one.depth() + 1);
  if (state->depth > kMaxValueDepth)
    runtime_.refuse("loops over lists of loops are nested too deep");
  state->items = std::move(items);
  state->level = level;
  if (statement.recursive)
    state->again = [this, &statement, level,
                    weak = std::weak_ptr<Scope>(scope)](const Value& value) {
      const ScopePtr outside = weak.lock();
      std::string text;
      loop(statement, value, level + 1, outside ? outside : root_, text);
      return Value::of(std::move(text));
    };
  const Value handle = Value::of(std::shared_ptr<const Loop>(state));
  for (; state->index < state->items.size(); ++state->index) {
    const ScopePtr child = inner(scope);
    child->set("loop", handle);
    assign(statement.target, state->items[state->index], child);
    runtime_.step();
    if (run(statement.body, child, out) == Jump::stop) break;
  }
}

Value Evaluator::macro(const Stmt& statement, const ScopePtr& scope) {
  const std::string name = statement.text.empty() ? "caller" : statement.text;
  // The scope holds the macro, so the macro must not hold the scope.
  return runtime_.function(name, [this, &statement, weak = std::weak_ptr<Scope>(scope)](
                                     Runtime&, const Arguments& given) {
    const ScopePtr outside = weak.lock();
    return call_macro(statement, given, inner(outside ? outside : root_));
  });
}

Value Evaluator::call_macro(const Stmt& macro, const Arguments& given, const ScopePtr& scope) {
  const Deeper deeper(runtime_);
  Values rest;
  std::vector<std::pair<Value, Value>> named;
  const std::size_t n = macro.parameters.size();
  if (n > 0) {
    std::vector<std::optional<Value>> values(n);
    for (std::size_t i = 0; i < std::min(n, given.positional.size()); ++i)
      values[i] = given.positional[i];
    for (const auto& [key, value] : given.named)
      for (std::size_t i = 0; i < n; ++i)
        if (macro.parameters[i].first == key) values[i] = value;
    for (std::size_t i = 0; i < n; ++i) {
      const auto& [key, fallback] = macro.parameters[i];
      if (!values[i])
        values[i] = fallback ? evaluate(*fallback, scope)
                             : Value::undefined("the parameter " + quote(key) + " was not given");
      scope->set(key, std::move(*values[i]));
    }
  }
  for (std::size_t i = n; i < given.positional.size(); ++i) rest.push_back(given.positional[i]);
  for (const auto& [key, value] : given.named) {
    const bool known =
        std::any_of(macro.parameters.begin(), macro.parameters.end(),
                    [&key = key](const auto& parameter) { return parameter.first == key; });
    if (key == "caller")
      scope->set(key, value);
    else if (!known)
      put(runtime_, named, Value::of(key), value);
  }
  if (!rest.empty() && !uses(macro, "varargs"))
    runtime_.refuse("macro ", quote(macro.text), " takes at most ", n, " arguments");
  if (!named.empty() && !uses(macro, "kwargs"))
    runtime_.refuse("macro ", quote(macro.text), " has no parameter ",
                    quote(named[0].first.text()));
  scope->set("varargs", runtime_.list(std::move(rest), Style::tuple));
  scope->set("kwargs", runtime_.dict(std::move(named)));
  std::string text;
  run(macro.body, scope, text);
  return Value::of(std::move(text));
}

namespace {
bool names(const Expr* expr, std::string_view name) {
  return expr && ((expr->kind == ExprKind::name && expr->name == name) ||
                  std::any_of(expr->parts.begin(), expr->parts.end(),
                              [&](const ExprPtr& part) { return names(part.get(), name); }));
}
}  // namespace

bool Evaluator::uses(const Stmt& statement, std::string_view name) {
  const auto in_body = [&](const Body& body) {
    return std::any_of(body.begin(), body.end(), [&](const auto& s) { return uses(*s, name); });
  };
  return names(statement.value.get(), name) || names(statement.test.get(), name) ||
         in_body(statement.body) || in_body(statement.otherwise) ||
         std::any_of(statement.branches.begin(), statement.branches.end(), [&](const auto& branch) {
           return names(branch.first.get(), name) || in_body(branch.second);
         });
}

void Evaluator::call_block(const Stmt& statement, const ScopePtr& scope, std::string& out) {
  const Value callee = evaluate(*statement.value->parts[0], scope);
  Arguments given = arguments(*statement.value, scope);
  given.named.emplace_back("caller", macro(statement, scope));
  write(to_text(runtime_, call(callee, given)), out);
}

std::string Evaluator::render(const Body& body,
                              std::vector<std::pair<std::string, Value>> variables) {
  root_ = std::make_shared<Scope>();
  root_->names = std::move(variables);
  std::string out;
  run(body, root_, out);
  return out;
}

}  // namespace lq::jinja
