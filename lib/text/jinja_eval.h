#pragma once
// Runs a parsed template.
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/text/jinja_ast.h"
#include "lib/text/jinja_value.h"

namespace lq::jinja {

/// Names of one block; looked up from the inside out.
struct Scope {
  std::shared_ptr<Scope> parent;
  std::vector<std::pair<std::string, Value>> names;

  const Value* find(const std::string& name) const;
  void set(const std::string& name, Value value);
};
using ScopePtr = std::shared_ptr<Scope>;

/// How a statement ended: `break` and `continue` leave the statements around them.
enum class Jump { none, stop, next };

class Evaluator {
 public:
  explicit Evaluator(Runtime& runtime) : runtime_(runtime) {}
  std::string render(const Body& body, std::vector<std::pair<std::string, Value>> variables);

 private:
  Value evaluate(const Expr& expr, const ScopePtr& scope);
  Value name(const Expr& expr, const ScopePtr& scope);
  Value collection(const Expr& expr, const ScopePtr& scope);
  Value choice(const Expr& expr, const ScopePtr& scope);
  Value comparison(const Expr& expr, const ScopePtr& scope);
  Value slice_of(const Expr& expr, const ScopePtr& scope);
  Value applied(const Expr& expr, const ScopePtr& scope);
  Value concatenation(const Expr& expr, const ScopePtr& scope);
  bool holds(const std::string& sign, const Value& a, const Value& b);
  Arguments arguments(const Expr& expr, const ScopePtr& scope);
  Value call(const Value& callee, const Arguments& arguments);

  Jump run(const Body& body, const ScopePtr& scope, std::string& out);
  Jump run(const Stmt& statement, const ScopePtr& scope, std::string& out);
  void write(std::string_view text, std::string& out);
  std::string captured(const Body& body, const ScopePtr& scope);
  Value filtered(const Stmt& statement, const Value& text, const ScopePtr& scope);
  void assign(const Target& target, const Value& value, const ScopePtr& scope);
  void loop(const Stmt& statement, const Value& source, int level, const ScopePtr& scope,
            std::string& out);
  Value macro(const Stmt& statement, const ScopePtr& scope);
  Value call_macro(const Stmt& macro, const Arguments& given, const ScopePtr& scope);
  void call_block(const Stmt& statement, const ScopePtr& scope, std::string& out);
  static bool uses(const Stmt& statement, std::string_view name);

  Runtime& runtime_;
  ScopePtr root_;
};

}  // namespace lq::jinja
