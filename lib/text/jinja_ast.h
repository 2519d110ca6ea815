#pragma once
// A parsed template.
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/text/jinja_value.h"

namespace lq::jinja {

enum class ExprKind : std::uint8_t {
  constant,     // value
  name,         // name
  list,         // parts
  tuple,        // parts
  dict,         // parts: key, value, key, value
  attribute,    // parts[0].name
  item,         // parts[0][parts[1]]
  slice,        // parts[0][parts[1]:parts[2]:parts[3]], absent ones are the constant None
  call,         // parts[0](arguments)
  filter,       // parts[0] | name(arguments)
  test,         // parts[0] is name(arguments)
  negative,     // -parts[0]
  positive,     // +parts[0]
  invert,       // not parts[0]
  all,          // parts[0] and parts[1]
  any,          // parts[0] or parts[1]
  choice,       // parts[0] if parts[1] else parts[2]; parts[2] may be missing
  comparison,   // parts[0] labels[1] parts[1] labels[2] parts[2] ...
  arithmetic,   // parts[0] name parts[1]
  concatenate,  // parts, with ~
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  ExprKind kind;
  int line;
  int height = 1;  ///< of the tree below
  std::string name;
  Value value;
  std::vector<ExprPtr> parts;
  /// One a part. Of an argument: "" by position, "*", "**" or its name. Of a comparison: operator.
  std::vector<std::string> labels;
};

enum class StmtKind : std::uint8_t {
  text,          // text
  output,        // value
  condition,     // branches; one without test is the else
  loop,          // for target in value if test: body, otherwise
  set,           // target = value
  set_block,     // target = body; value: filters over it, or null
  macro,         // name, parameters, body
  call_block,    // value is the call, body the caller, parameters its
  filter_block,  // value: filters over body
  with,          // parameters, body
  scope,         // body
  stop,          // break
  next,          // continue
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

/// What is assigned to: a name, `name.attribute`, or several targets.
struct Target {
  std::string name, attribute;
  std::vector<Target> parts;
};

struct Stmt {
  StmtKind kind;
  int line;
  std::string text;  ///< or the name of a macro
  Target target;
  ExprPtr value, test;
  bool recursive = false;
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body body, otherwise;
  std::vector<std::pair<std::string, ExprPtr>> parameters;  ///< with default or null
};

/// The innermost value of the filters of `filter` and `set` blocks: the text of the block.
inline constexpr const char* kBlockText = " block";

/// Throws Error(input) "name:line: reason".
Body parse(std::string_view source, const std::string& name);

}  // namespace lq::jinja
