// What follows the dot: methods of texts, dicts and lists, members of namespaces and `loop`.
#include <algorithm>
#include <array>

#include "lib/base/quote.h"
#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

using Method = Value (*)(Runtime&, const Value&, const Arguments&);
struct MethodRow {
  std::string_view name;
  Method method;
};

Value like(const Value& self, std::string_view text) {
  return Value::of(std::string(text), self.is_safe());
}
const std::string& text_argument(Runtime& runtime, const Value& value) {
  if (!value.is(Kind::text)) runtime.refuse("a text is needed, not a ", type_name(value));
  return value.text();
}

template <std::string (*change)(std::string_view)>
Value changed_self(Runtime& runtime, const Value& self, const Arguments& given) {
  bind(runtime, "the method", given, {}, 0);
  runtime.reserve(self.text().size());
  return like(self, change(self.text()));
}

template <bool left, bool right>
Value stripped(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "strip", given, {"chars"}, 0);
  const bool any = options[0].is(Kind::undefined) || options[0].is(Kind::none);
  const std::string* const chars = any ? nullptr : &text_argument(runtime, options[0]);
  return like(self, strip(self.text(), chars, left, right));
}

template <bool from_right>
Value split_method(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "split", given, {"sep", "maxsplit"}, 0);
  const std::int64_t limit = integer_argument(runtime, options[1], -1);
  runtime.reserve(self.text().size());
  std::vector<std::string_view> parts;
  if (options[0].is(Kind::undefined) || options[0].is(Kind::none)) {
    parts = from_right ? rsplit(self.text(), limit) : split(self.text(), limit);
  } else {
    const std::string& by = text_argument(runtime, options[0]);
    if (by.empty()) runtime.refuse("split needs a separator that is not empty");
    runtime.step(4 * count_parts(self.text(), by));
    parts = from_right ? rsplit(self.text(), by, limit) : split(self.text(), by, limit);
  }
  Values out;
  for (const std::string_view part : parts) out.push_back(like(self, part));
  return runtime.list(std::move(out));
}

Value lines_method(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "splitlines", given, {"keepends"}, 0);
  runtime.reserve(self.text().size());
  Values out;
  for (const std::string_view line : split_lines(self.text(), truth(options[0])))
    out.push_back(like(self, line));
  return runtime.list(std::move(out));
}

bool at_end(const std::string& text, const std::string& part, bool end) {
  return text.size() >= part.size() &&
         text.compare(end ? text.size() - part.size() : 0, part.size(), part) == 0;
}

template <bool end>
Value ends(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, end ? "endswith" : "startswith", given, {"part"}, 1);
  if (!options[0].is_sequence() || options[0].sequence().style != Style::tuple)
    return Value::of(at_end(self.text(), text_argument(runtime, options[0]), end));
  const Values& parts = options[0].sequence().items;
  return Value::of(std::any_of(parts.begin(), parts.end(), [&](const Value& part) {
    return at_end(self.text(), text_argument(runtime, part), end);
  }));
}

template <bool end>
Value without(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "remove", given, {"part"}, 1);
  const std::string& part = text_argument(runtime, options[0]);
  std::string_view text = self.text();
  if (at_end(self.text(), part, end))
    text = text.substr(end ? 0 : part.size(), text.size() - part.size());
  return like(self, text);
}

Value replace_method(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "replace", given, {"old", "new", "count"}, 2);
  const std::string& from = text_argument(runtime, options[0]);
  text_argument(runtime, options[1]);
  const std::string to = escaped_beside(self, options[1]);
  runtime.reserve(self.text().size());
  runtime.reserve(count_parts(self.text(), from), to.size());
  return like(self, replace(self.text(), from, to, integer_argument(runtime, options[2], -1)));
}

template <bool from_right>
Value find_method(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "find", given, {"part"}, 1);
  const std::string& part = text_argument(runtime, options[0]);
  runtime.step(self.text().size() / 64);
  const std::size_t at = from_right ? self.text().rfind(part) : self.text().find(part);
  if (at == std::string::npos) return Value::of(std::int64_t{-1});
  return Value::of(
      static_cast<std::int64_t>(count_chars(std::string_view(self.text()).substr(0, at))));
}

Value index_method(Runtime& runtime, const Value& self, const Arguments& given) {
  Value at = find_method<false>(runtime, self, given);
  if (at.integer() < 0) runtime.refuse("index: the part is not in the text");
  return at;
}

Value count_method(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "count", given, {"part"}, 1);
  runtime.step(self.text().size() / 64);
  return Value::of(
      static_cast<std::int64_t>(count_parts(self.text(), text_argument(runtime, options[0]))));
}

Value join_method(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "join", given, {"items"}, 1);
  std::string out;
  bool first = true;
  for (const Value& one : items_of(runtime, options[0])) {
    text_argument(runtime, one);
    if (!first) out += self.text();
    first = false;
    out += escaped_beside(self, one);
    runtime.step((self.text().size() + one.text().size()) / 16);
  }
  runtime.reserve(out.size());
  return like(self, out);
}

template <bool from_right>
Value partition(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "partition", given, {"sep"}, 1);
  const std::string& by = text_argument(runtime, options[0]);
  if (by.empty()) runtime.refuse("partition needs a separator that is not empty");
  const std::string_view text = self.text();
  runtime.reserve(text.size());
  const std::size_t at = from_right ? text.rfind(by) : text.find(by);
  std::array<std::string_view, 3> parts;
  if (at == std::string_view::npos)
    parts[from_right ? 2 : 0] = text;
  else
    parts = {text.substr(0, at), by, text.substr(at + by.size())};
  return runtime.list({like(self, parts[0]), like(self, parts[1]), like(self, parts[2])},
                      Style::tuple);
}

template <bool (*accepts)(char32_t)>
Value all_chars(Runtime& runtime, const Value& self, const Arguments& given) {
  bind(runtime, "the method", given, {}, 0);
  runtime.step(self.text().size() / 16);
  for (std::size_t at = 0; at < self.text().size();)
    if (!accepts(next_char(self.text(), at))) return Value::of(false);
  return Value::of(!self.text().empty());
}
bool is_word_char(char32_t c) { return is_alpha(c) || is_numeric(c); }

Value is_lower(Runtime& runtime, const Value& self, const Arguments&) {
  return Value::of(apply_test(runtime, "lower", self, {}));
}
Value is_upper(Runtime& runtime, const Value& self, const Arguments&) {
  return Value::of(apply_test(runtime, "upper", self, {}));
}

/// Filled up to a width: `left` and `right` say where the text goes.
template <bool left, bool right>
Value justified(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "the method", given, {"width", "fillchar"}, 1);
  const std::string fill =
      options[1].is(Kind::undefined) ? " " : text_argument(runtime, options[1]);
  if (count_chars(fill) != 1) runtime.refuse("the fill is one character");
  const std::int64_t width = integer_argument(runtime, options[0], 0);
  const auto n = static_cast<std::int64_t>(count_chars(self.text()));
  if (width <= n) return self;
  const std::int64_t missing = width - n;
  const std::int64_t before = left && right ? missing / 2 + (missing & width & 1)
                              : left        ? 0
                                            : missing;
  runtime.reserve(static_cast<std::size_t>(missing), fill.size());
  std::string out;
  for (std::int64_t i = 0; i < before; ++i) out += fill;
  out += self.text();
  for (std::int64_t i = before; i < missing; ++i) out += fill;
  return like(self, out);
}

constexpr MethodRow kTextMethods[] = {
    {"strip", stripped<true, true>},
    {"lstrip", stripped<true, false>},
    {"rstrip", stripped<false, true>},
    {"split", split_method<false>},
    {"rsplit", split_method<true>},
    {"splitlines", lines_method},
    {"startswith", ends<false>},
    {"endswith", ends<true>},
    {"removeprefix", without<false>},
    {"removesuffix", without<true>},
    {"replace", replace_method},
    {"upper", changed_self<upper>},
    {"lower", changed_self<lower>},
    {"title", changed_self<title>},
    {"capitalize", changed_self<capitalize>},
    {"find", find_method<false>},
    {"rfind", find_method<true>},
    {"index", index_method},
    {"count", count_method},
    {"join", join_method},
    {"format", format_braces},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"isdigit", all_chars<is_digit>},
    {"isnumeric", all_chars<is_numeric>},
    {"isdecimal", all_chars<is_decimal>},
    {"isalpha", all_chars<is_alpha>},
    {"isalnum", all_chars<is_word_char>},
    {"isspace", all_chars<is_space>},
    {"islower", is_lower},
    {"isupper", is_upper},
    {"ljust", justified<true, false>},
    {"rjust", justified<false, true>},
    {"center", justified<true, true>},
};

Value view(Runtime& runtime, const Value& self, const Arguments& given, char what) {
  bind(runtime, "the method", given, {}, 0);
  Values out;
  for (const auto& [key, value] : self.dict().members)
    out.push_back(what == 'k'   ? key
                  : what == 'v' ? value
                                : runtime.list({key, value}, Style::tuple));
  const char* const label = what == 'k' ? "dict_keys" : what == 'v' ? "dict_values" : "dict_items";
  return runtime.list(std::move(out), Style::view, label);
}

Value get_method(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "get", given, {"key", "default"}, 1);
  if (const Value* const value = find(runtime, self.dict(), options[0])) return *value;
  return given.positional.size() > 1 || !given.named.empty() ? options[1] : Value::none();
}

constexpr MethodRow kDictMethods[] = {
    {"items", [](Runtime& r, const Value& v, const Arguments& a) { return view(r, v, a, 'i'); }},
    {"keys", [](Runtime& r, const Value& v, const Arguments& a) { return view(r, v, a, 'k'); }},
    {"values", [](Runtime& r, const Value& v, const Arguments& a) { return view(r, v, a, 'v'); }},
    {"get", get_method},
    {"copy", [](Runtime&, const Value& v, const Arguments&) { return v; }},
};

Value list_index(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "index", given, {"item"}, 1);
  const Values& items = self.sequence().items;
  for (std::size_t i = 0; i < items.size(); ++i)
    if (equal(runtime, items[i], options[0])) return Value::of(static_cast<std::int64_t>(i));
  runtime.refuse("index: the item is not in the list");
}
Value list_count(Runtime& runtime, const Value& self, const Arguments& given) {
  const Values options = bind(runtime, "count", given, {"item"}, 1);
  const Values& items = self.sequence().items;
  return Value::of(
      static_cast<std::int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& one) {
        return equal(runtime, one, options[0]);
      })));
}
constexpr MethodRow kListMethods[] = {
    {"index", list_index},
    {"count", list_count},
    {"copy", [](Runtime&, const Value& v, const Arguments&) { return v; }},
};

constexpr std::array<std::string_view, 11> kChanging = {"append",  "extend",     "insert", "pop",
                                                        "remove",  "clear",      "update", "sort",
                                                        "reverse", "setdefault", "popitem"};

template <std::size_t n>
Value bound(Runtime& runtime, const MethodRow (&rows)[n], const Value& self,
            const std::string& name) {
  for (const MethodRow& row : rows)
    if (row.name == name)
      return runtime.function(
          name,
          [self, method = row.method](Runtime& r, const Arguments& given) {
            return method(r, self, given);
          },
          self.depth());
  return Value();
}

Value loop_function(Runtime& runtime, const Value& self, const std::string& name) {
  if (name == "cycle")
    return runtime.function(
        name,
        [self](Runtime& r, const Arguments& given) {
          if (given.positional.empty()) r.refuse("loop.cycle needs values");
          return given.positional[self.loop().index % given.positional.size()];
        },
        self.depth());
  return runtime.function(
      name,
      [self](Runtime& r, const Arguments& given) {
        // Only this function changes the loop, and only what belongs to it.
        Loop& loop = const_cast<Loop&>(self.loop());
        const Values& now = given.positional;
        const bool same =
            loop.asked_changed && now.size() == loop.changed.size() &&
            std::equal(now.begin(), now.end(), loop.changed.begin(),
                       [&](const Value& a, const Value& b) { return equal(r, a, b); });
        loop.asked_changed = true;
        loop.changed = now;
        return Value::of(!same);
      },
      self.depth());
}

Value loop_member(Runtime& runtime, const Value& self, const std::string& name) {
  const Loop& loop = self.loop();
  const auto index = static_cast<std::int64_t>(loop.index);
  const auto size = static_cast<std::int64_t>(loop.items.size());
  if (name == "index") return Value::of(index + 1);
  if (name == "index0") return Value::of(index);
  if (name == "revindex") return Value::of(size - index);
  if (name == "revindex0") return Value::of(size - index - 1);
  if (name == "first") return Value::of(index == 0);
  if (name == "last") return Value::of(index == size - 1);
  if (name == "length") return Value::of(size);
  if (name == "depth") return Value::of(std::int64_t{loop.level} + 1);
  if (name == "depth0") return Value::of(std::int64_t{loop.level});
  if (name == "previtem")
    return index > 0 ? loop.items[loop.index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return index + 1 < size ? loop.items[loop.index + 1]
                            : Value::undefined("there is no next item");
  if (name == "cycle" || name == "changed") return loop_function(runtime, self, name);
  return Value();
}
}  // namespace

Value attribute(Runtime& runtime, const Value& container, const std::string& name) {
  if (container.is(Kind::undefined)) runtime.refuse(container.hint());
  Value value;
  bool found = false;
  switch (container.kind()) {
    case Kind::text:
      value = bound(runtime, kTextMethods, container, name);
      break;
    case Kind::sequence:
      if (container.sequence().style <= Style::range)
        value = bound(runtime, kListMethods, container, name);
      break;
    case Kind::dict:
      value = bound(runtime, kDictMethods, container, name);
      break;
    case Kind::name_space:
      for (const auto& [key, member] : container.name_space().members)
        if (key == name) {
          value = member;
          found = true;
        }
      break;
    case Kind::loop:
      value = loop_member(runtime, container, name);
      break;
    case Kind::callable:
      if (name == "name") value = Value::of(container.callable().name);
      break;
    default:
      break;
  }
  if (found || !value.is(Kind::undefined) || !value.hint().starts_with("a value")) return value;
  if ((container.is(Kind::dict) || container.is_sequence()) &&
      std::find(kChanging.begin(), kChanging.end(), name) != kChanging.end() &&
      !(container.is(Kind::dict) && find(runtime, container.dict(), Value::of(name))))
    return Value::undefined("a template cannot change a " + type_name(container) + ": " +
                            quote(name));
  if (container.is(Kind::dict))
    if (const Value* const member = find(runtime, container.dict(), Value::of(name)))
      return *member;
  return Value::undefined("a " + type_name(container) + " has no member " + quote(name));
}

}  // namespace lq::jinja
