#include "lib/text/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/quote.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {

std::shared_ptr<const Object> Value::make_text(std::string text) {
  auto object = std::make_shared<Text>();
  object->text = std::move(text);
  return object;
}
Value Value::of(bool value) {
  Value v(Kind::boolean);
  v.integer_ = value;
  return v;
}
Value Value::of(std::int64_t value) {
  Value v(Kind::integer);
  v.integer_ = value;
  return v;
}
Value Value::of(double value) {
  Value v(Kind::number);
  v.number_ = value;
  return v;
}
Value Value::of(std::string text, bool safe) {
  Value v(Kind::text, make_text(std::move(text)));
  v.safe_ = safe;
  return v;
}
Value Value::of(std::shared_ptr<const Sequence> sequence) {
  return Value(Kind::sequence, std::move(sequence));
}
Value Value::of(std::shared_ptr<const Dict> dict) { return Value(Kind::dict, std::move(dict)); }
Value Value::of(std::shared_ptr<const Namespace> space) {
  return Value(Kind::name_space, std::move(space));
}
Value Value::of(std::shared_ptr<const Callable> callable) {
  return Value(Kind::callable, std::move(callable));
}
Value Value::of(std::shared_ptr<const Loop> loop) { return Value(Kind::loop, std::move(loop)); }

double Value::number() const { return is_integral() ? static_cast<double>(integer_) : number_; }
const std::string& Value::hint() const {
  static const std::string kUnnamed = "a value is undefined";
  return object_ ? as<Text>().text : kUnnamed;
}

Runtime::~Runtime() {
  for (const auto& space : spaces_) space->members.clear();
}

void Runtime::reserve(std::size_t bytes) {
  if (bytes > limits_.output_bytes)
    refuse("the template makes a text of ", bytes, " bytes, more than ", limits_.output_bytes);
  step(bytes / 16);
}

void Runtime::reserve(std::size_t count, std::size_t bytes_each) {
  if (count != 0 && bytes_each > std::numeric_limits<std::size_t>::max() / 2 / count)
    refuse("the template makes a text that is too large");
  reserve(count * bytes_each);
}

template <class T>
void Runtime::set_depth(T& object, int inner) const {
  object.depth = inner + 1;
  if (object.depth > kMaxValueDepth)
    refuse("lists and dicts are nested more than ", kMaxValueDepth, " deep");
}

Value Runtime::list(Values items, Style style, std::string label) {
  step(2 * items.size() + 4);
  auto sequence = std::make_shared<Sequence>();
  int inner = 0;
  for (const Value& value : items) inner = std::max(inner, value.depth());
  set_depth(*sequence, inner);
  sequence->style = style;
  sequence->items = std::move(items);
  sequence->label = std::move(label);
  return Value::of(std::shared_ptr<const Sequence>(std::move(sequence)));
}

Value Runtime::dict(std::vector<std::pair<Value, Value>> members) {
  step(4 * members.size() + 4);
  auto dict = std::make_shared<Dict>();
  int inner = 0;
  for (const auto& [key, value] : members) inner = std::max({inner, key.depth(), value.depth()});
  set_depth(*dict, inner);
  dict->members = std::move(members);
  return Value::of(std::shared_ptr<const Dict>(std::move(dict)));
}

Value Runtime::function(std::string name, std::function<Value(Runtime&, const Arguments&)> call,
                        int inner) {
  step(4);
  auto callable = std::make_shared<Callable>();
  set_depth(*callable, inner);
  callable->name = std::move(name);
  callable->call = std::move(call);
  return Value::of(std::shared_ptr<const Callable>(std::move(callable)));
}

Value Runtime::new_namespace() {
  step(16);
  spaces_.push_back(std::make_shared<Namespace>());
  return Value::of(std::shared_ptr<const Namespace>(spaces_.back()));
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.integer() != 0;
    case Kind::number:
      return value.number() != 0;
    case Kind::text:
      return !value.text().empty();
    case Kind::sequence:
      return value.sequence().style == Style::generator || !value.sequence().items.empty();
    case Kind::dict:
      return !value.dict().members.empty();
    default:
      return true;
  }
}

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return "undefined value";
    case Kind::none:
      return "None";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::number:
      return "float";
    case Kind::text:
      return "str";
    case Kind::dict:
      return "dict";
    case Kind::name_space:
      return "namespace";
    case Kind::callable:
      return "function";
    case Kind::loop:
      return "loop";
    case Kind::sequence:
      break;
  }
  switch (value.sequence().style) {
    case Style::list:
      return "list";
    case Style::tuple:
      return "tuple";
    case Style::range:
      return "range";
    case Style::view:
      return "dict view";
    case Style::generator:
      return "generator";
  }
  return "value";
}

bool equal(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step();
  if (a.is_number() && b.is_number())
    return a.is_integral() && b.is_integral() ? a.integer() == b.integer()
                                              : a.number() == b.number();
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::text:
      return a.text() == b.text();
    case Kind::sequence: {
      const Sequence &x = a.sequence(), &y = b.sequence();
      if (x.style != y.style || x.style == Style::view || x.style == Style::generator)
        return &x == &y;
      return x.items.size() == y.items.size() &&
             std::equal(x.items.begin(), x.items.end(), y.items.begin(),
                        [&](const Value& p, const Value& q) { return equal(runtime, p, q); });
    }
    case Kind::dict: {
      const auto &x = a.dict().members, &y = b.dict().members;
      return x.size() == y.size() && std::all_of(x.begin(), x.end(), [&](const auto& member) {
               const Value* const other = find(runtime, b.dict(), member.first);
               return other && equal(runtime, member.second, *other);
             });
    }
    default:
      return a.identity() == b.identity();
  }
}

int compare(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step();
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_integral() && b.is_integral()) return order(a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return order(a.number(), b.number());
  if (a.is(Kind::text) && b.is(Kind::text)) return a.text().compare(b.text());
  if (a.is_sequence() && b.is_sequence() && a.sequence().style == b.sequence().style &&
      a.sequence().style <= Style::tuple) {
    const Values &x = a.sequence().items, &y = b.sequence().items;
    for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(runtime, x[i], y[i])) return compare(runtime, x[i], y[i]);
    return order(x.size(), y.size());
  }
  if (a.is(Kind::undefined)) runtime.refuse(a.hint());
  if (b.is(Kind::undefined)) runtime.refuse(b.hint());
  runtime.refuse("a ", type_name(a), " cannot be ordered with a ", type_name(b));
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::undefined:
      return false;
    case Kind::dict:
      return find(runtime, container.dict(), item) != nullptr;
    case Kind::text:
      if (!item.is(Kind::text))
        runtime.refuse("'in' a text looks for a text, not for a ", type_name(item));
      runtime.step(container.text().size() / 64);
      return container.text().find(item.text()) != std::string::npos;
    default: {
      const Values items = items_of(runtime, container);
      return std::any_of(items.begin(), items.end(),
                         [&](const Value& value) { return equal(runtime, value, item); });
    }
  }
}

Values items_of(Runtime& runtime, const Value& value) {
  Values items;
  switch (value.kind()) {
    case Kind::undefined:
      break;
    case Kind::text:
      runtime.step(4 * value.text().size());
      for (const std::string_view c : chars_of(value.text()))
        items.push_back(Value::of(std::string(c)));
      break;
    case Kind::dict:
      for (const auto& member : value.dict().members) items.push_back(member.first);
      break;
    case Kind::sequence: {
      const Sequence& sequence = value.sequence();
      const auto from = static_cast<std::ptrdiff_t>(sequence.taken);
      items.assign(sequence.items.begin() + from, sequence.items.end());
      if (sequence.style == Style::generator) sequence.taken = sequence.items.size();
      break;
    }
    default:
      runtime.refuse("a ", type_name(value), " has no items to go through");
  }
  runtime.step(items.size());
  return items;
}

std::size_t length_of(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::text:
      runtime.step(value.text().size() / 64);
      return count_chars(value.text());
    case Kind::dict:
      return value.dict().members.size();
    case Kind::sequence:
      if (value.sequence().style != Style::generator) return value.sequence().items.size();
      [[fallthrough]];
    default:
      runtime.refuse("a ", type_name(value), " has no length");
  }
}

const Value* find(Runtime& runtime, const Dict& dict, const Value& key) {
  if (key.is(Kind::dict) || (key.is_sequence() && key.sequence().style == Style::list))
    runtime.refuse("a ", type_name(key), " cannot be the key of a dict");
  runtime.step(dict.members.size() / 16);
  for (const auto& [name, value] : dict.members)
    if (name.is(Kind::text) && key.is(Kind::text) ? name.text() == key.text()
                                                  : equal(runtime, name, key))
      return &value;
  return nullptr;
}

void put(Runtime& runtime, std::vector<std::pair<Value, Value>>& members, Value key, Value value) {
  if (key.is(Kind::dict) || (key.is_sequence() && key.sequence().style == Style::list))
    runtime.refuse("a ", type_name(key), " cannot be the key of a dict");
  for (auto& member : members)
    if (equal(runtime, member.first, key)) {
      member.second = std::move(value);
      return;
    }
  members.emplace_back(std::move(key), std::move(value));
}

namespace {
/// The position that Python's index means; `size` when there is none.
std::size_t position(const Value& key, std::size_t size) {
  const std::int64_t n = static_cast<std::int64_t>(size), i = key.integer();
  if (i >= n || i < -n) return size;
  return static_cast<std::size_t>(i < 0 ? i + n : i);
}
bool is_indexed(const Value& value) {
  return value.is_sequence() && value.sequence().style <= Style::range;
}
std::string hint_for(const Value& container, const std::string& what) {
  return "a " + type_name(container) + " has no member " + what;
}
}  // namespace

Value item(Runtime& runtime, const Value& container, const Value& key) {
  if (container.is(Kind::undefined)) runtime.refuse(container.hint());
  if (container.is(Kind::dict)) {
    if (key.is(Kind::dict) || (key.is_sequence() && key.sequence().style == Style::list))
      return Value::undefined("a " + type_name(key) + " is no key");
    if (const Value* const value = find(runtime, container.dict(), key)) return *value;
  } else if (is_indexed(container) && key.is_integral()) {
    const Values& items = container.sequence().items;
    const std::size_t at = position(key, items.size());
    if (at < items.size()) return items[at];
  } else if (container.is(Kind::text) && key.is_integral()) {
    runtime.step(container.text().size() / 16);
    const auto chars = chars_of(container.text());
    const std::size_t at = position(key, chars.size());
    if (at < chars.size()) return Value::of(std::string(chars[at]), container.is_safe());
  }
  if (key.is(Kind::text) && !container.is(Kind::dict))
    return attribute(runtime, container, key.text());
  if (key.is(Kind::text)) {
    const Value method = attribute(runtime, container, key.text());
    if (!method.is(Kind::undefined)) return method;
    return Value::undefined(hint_for(container, quote(key.text())));
  }
  return Value::undefined(hint_for(container, "of that number or kind"));
}

Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
            const Value& step) {
  if (value.is(Kind::undefined)) runtime.refuse(value.hint());
  if (!value.is(Kind::text) && !is_indexed(value))
    runtime.refuse("a ", type_name(value), " cannot be sliced");
  const bool is_text = value.is(Kind::text);
  if (is_text) runtime.step(value.text().size() / 4);
  const auto chars = is_text ? chars_of(value.text()) : std::vector<std::string_view>();
  const auto n = static_cast<std::int64_t>(is_text ? chars.size() : value.sequence().items.size());
  for (const Value* bound : {&start, &stop, &step})
    if (!bound->is(Kind::none) && !bound->is_integral())
      runtime.refuse("a slice is bounded by integers, not by a ", type_name(*bound));
  const std::int64_t by = step.is(Kind::none) ? 1 : step.integer();
  if (by == 0) runtime.refuse("a slice cannot have step 0");
  const auto bound = [&](const Value& given, std::int64_t fallback) {
    if (given.is(Kind::none)) return fallback;
    const std::int64_t i = given.integer() < 0 ? given.integer() + n : given.integer();
    return std::clamp(i, by < 0 ? std::int64_t{-1} : 0, by < 0 ? n - 1 : n);
  };
  std::int64_t i = bound(start, by < 0 ? n - 1 : 0);
  const std::int64_t end = bound(stop, by < 0 ? -1 : n);
  std::string text;
  Values items;
  while (by < 0 ? i > end : i < end) {
    const auto at = static_cast<std::size_t>(i);
    if (is_text)
      text += chars[at];
    else
      items.push_back(value.sequence().items[at]);
    if (by > n || by < -n) break;
    i += by;
  }
  if (is_text) return Value::of(std::move(text), value.is_safe());
  return runtime.list(std::move(items),
                      value.sequence().style == Style::tuple ? Style::tuple : Style::list);
}

Values bind(Runtime& runtime, const std::string& function, const Arguments& arguments,
            std::initializer_list<const char*> names, std::size_t required) {
  Values values(names.size());
  std::vector<bool> given(names.size());
  if (arguments.positional.size() > names.size())
    runtime.refuse(function, " takes at most ", names.size(), " arguments, not ",
                   arguments.positional.size());
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    values[i] = arguments.positional[i];
    given[i] = true;
  }
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) runtime.refuse(function, " has no argument ", quote(name));
    const auto i = static_cast<std::size_t>(at - names.begin());
    if (given[i]) runtime.refuse(function, " is given its argument ", quote(name), " twice");
    values[i] = value;
    given[i] = true;
  }
  for (std::size_t i = 0; i < required; ++i)
    if (!given[i]) runtime.refuse(function, " needs its argument '", names.begin()[i], "'");
  return values;
}

std::int64_t integer_argument(Runtime& runtime, const Value& value, std::int64_t fallback) {
  if (value.is(Kind::undefined)) return fallback;
  if (!value.is_integral()) runtime.refuse("an integer is needed, not a ", type_name(value));
  return value.integer();
}

}  // namespace lq::jinja
