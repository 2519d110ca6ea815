#include "lib/text/chat_template.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/text/jinja_ast.h"
#include "lib/text/jinja_eval.h"
#include "lib/text/jinja_value.h"

namespace lq {
namespace {
using jinja::Kind;
using jinja::Runtime;
using jinja::Value;
using Members = std::vector<std::pair<Value, Value>>;

Value to_value(Runtime& runtime, const OrderedJson& json, int depth) {
  // The recursion stops before any container of ours would be refused for its depth.
  if (depth > jinja::kMaxValueDepth) runtime.refuse("the variables are nested too deep");
  switch (json.type()) {
    case OrderedJson::value_t::null:
      return Value::none();
    case OrderedJson::value_t::boolean:
      return Value::of(json.get<bool>());
    case OrderedJson::value_t::number_integer:
      return Value::of(json.get<std::int64_t>());
    case OrderedJson::value_t::number_unsigned: {
      const auto value = json.get<std::uint64_t>();
      if (value > INT64_MAX)
        runtime.refuse("the variables have an integer that is too large: ", value);
      return Value::of(static_cast<std::int64_t>(value));
    }
    case OrderedJson::value_t::number_float:
      return Value::of(json.get<double>());
    case OrderedJson::value_t::string:
      return Value::of(json.get_ref<const std::string&>());
    case OrderedJson::value_t::array: {
      jinja::Values items;
      for (const OrderedJson& item : json) items.push_back(to_value(runtime, item, depth + 1));
      return runtime.list(std::move(items));
    }
    case OrderedJson::value_t::object: {
      Members members;
      for (const auto& [key, value] : json.items())
        members.emplace_back(Value::of(key), to_value(runtime, value, depth + 1));
      return runtime.dict(std::move(members));
    }
    default:
      runtime.refuse("the variables have a value that is not JSON");
  }
}

/// A message with its thoughts under one name gets them under the two that templates look for:
/// `thinking`, as first key, and `reasoning_content`.
Value with_thoughts(Runtime& runtime, const Value& message) {
  if (!message.is(Kind::dict)) return message;
  const Value* thoughts = nullptr;
  for (const char* key : {"reasoning_content", "thinking", "reasoning"})
    if (!thoughts) thoughts = find(runtime, message.dict(), Value::of(key));
  if (!thoughts) return message;
  Members members;
  if (!find(runtime, message.dict(), Value::of("thinking")))
    members.emplace_back(Value::of("thinking"), *thoughts);
  for (const auto& member : message.dict().members) members.push_back(member);
  put(runtime, members, Value::of("reasoning_content"), *thoughts);
  put(runtime, members, Value::of("thinking"), *thoughts);
  return runtime.dict(std::move(members));
}

std::vector<std::pair<std::string, Value>> to_variables(Runtime& runtime, const OrderedJson& json) {
  if (!json.is_object()) runtime.refuse("the variables are not an object");
  std::vector<std::pair<std::string, Value>> variables;
  for (const auto& [key, value] : json.items())
    variables.emplace_back(key, to_value(runtime, value, 0));
  for (auto& [name, value] : variables) {
    if (name != "messages" || !value.is_sequence()) continue;
    jinja::Values messages;
    for (const Value& message : value.sequence().items)
      messages.push_back(with_thoughts(runtime, message));
    value = runtime.list(std::move(messages));
  }
  for (const char* name : {"messages", "tools", "documents"})
    if (!json.contains(name)) variables.emplace_back(name, Value::none());
  if (!json.contains("add_generation_prompt"))
    variables.emplace_back("add_generation_prompt", Value::of(false));
  return variables;
}
}  // namespace

struct ChatTemplate::Parsed {
  std::string name;
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string_view source, std::string name)
    : parsed_(std::make_unique<Parsed>()) {
  parsed_->name = std::move(name);
  parsed_->body = jinja::parse(source, parsed_->name);
}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const OrderedJson& variables,
                                 std::chrono::system_clock::time_point now,
                                 const TemplateLimits& limits) const {
  Runtime runtime(parsed_->name, limits, now);
  auto values = to_variables(runtime, variables);
  return jinja::Evaluator(runtime).render(parsed_->body, std::move(values));
}

}  // namespace lq
