// Filters that choose, order and combine items.
#include <algorithm>
#include <array>
#include <optional>

#include "lib/base/quote.h"
#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

/// `path` is "a.b.0", an integer, or undefined for the value itself.
Value get(Runtime& runtime, Value value, const Value& path) {
  if (path.is_integral()) return item(runtime, value, path);
  if (!path.is(Kind::text)) return value;
  for (const std::string_view part : split(path.text(), ".", -1)) {
    const bool digits = !part.empty() && part.size() < 10 &&
                        part.find_first_not_of("0123456789") == std::string_view::npos;
    const std::string key(part);
    value = item(runtime, value, digits ? Value::of(std::int64_t{std::stoi(key)}) : Value::of(key));
  }
  return value;
}

Value without_case(const Value& value, bool case_sensitive) {
  return value.is(Kind::text) && !case_sensitive ? Value::of(lower(value.text())) : value;
}

Value generator(Runtime& runtime, Values items, const char* filter) {
  return runtime.list(std::move(items), Style::generator,
                      "<generator object " + std::string(filter) + ">");
}

Value map(Runtime& runtime, const Value& subject, const Arguments& given) {
  Values out;
  if (given.positional.empty()) {
    const Values options = bind(runtime, "map", given, {"attribute", "default"}, 0);
    if (options[0].is(Kind::undefined)) runtime.refuse("map needs a filter or 'attribute'");
    for (const Value& one : items_of(runtime, subject)) {
      Value value = get(runtime, one, options[0]);
      if (value.is(Kind::undefined) && !options[1].is(Kind::undefined)) value = options[1];
      out.push_back(std::move(value));
    }
    return generator(runtime, std::move(out), "sync_do_map");
  }
  if (!given.positional[0].is(Kind::text)) runtime.refuse("map needs the name of a filter");
  Arguments rest = given;
  rest.positional.erase(rest.positional.begin());
  for (const Value& one : items_of(runtime, subject))
    out.push_back(apply_filter(runtime, given.positional[0].text(), one, rest));
  return generator(runtime, std::move(out), "sync_do_map");
}

/// select, reject, selectattr, rejectattr
Value choose(Runtime& runtime, const Value& subject, const Arguments& given, bool by_attribute,
             bool wanted) {
  Arguments rest = given;
  Value path;
  const auto shift = [&] {
    Value first = rest.positional[0];
    rest.positional.erase(rest.positional.begin());
    return first;
  };
  if (by_attribute) {
    if (rest.positional.empty()) runtime.refuse("a filter needs the name of an attribute");
    path = shift();
  }
  std::optional<Value> test;
  if (!rest.positional.empty()) test = shift();
  if (test && !test->is(Kind::text)) runtime.refuse("a filter needs the name of a test");
  Values out;
  for (const Value& one : items_of(runtime, subject)) {
    const Value value = get(runtime, one, path);
    if ((test ? apply_test(runtime, test->text(), value, rest) : truth(value)) == wanted)
      out.push_back(one);
  }
  return generator(runtime, std::move(out), "select_or_reject");
}

template <class T, class Key>
void sort_by(Runtime& runtime, std::vector<T>& items, bool reverse, const Key& key) {
  std::vector<std::pair<Value, T>> keyed;
  for (T& one : items) keyed.emplace_back(key(one), std::move(one));
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? compare(runtime, b.first, a.first) < 0
                   : compare(runtime, a.first, b.first) < 0;
  });
  for (std::size_t i = 0; i < items.size(); ++i) items[i] = std::move(keyed[i].second);
}

Value sort(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options =
      bind(runtime, "sort", given, {"reverse", "case_sensitive", "attribute"}, 0);
  Values items = items_of(runtime, subject);
  sort_by(runtime, items, truth(options[0]), [&](const Value& one) {
    if (!options[2].is(Kind::text))
      return without_case(get(runtime, one, options[2]), truth(options[1]));
    Values keys;
    for (const std::string_view path : split(options[2].text(), ",", -1))
      keys.push_back(
          without_case(get(runtime, one, Value::of(std::string(path))), truth(options[1])));
    return runtime.list(std::move(keys));
  });
  return runtime.list(std::move(items));
}

Value dictsort(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "dictsort", given, {"case_sensitive", "by", "reverse"}, 0);
  if (!subject.is(Kind::dict)) runtime.refuse("dictsort needs a dict, not a ", type_name(subject));
  const std::string by = options[1].is(Kind::undefined) ? "key" : to_text(runtime, options[1]);
  if (by != "key" && by != "value") runtime.refuse("dictsort: 'by' is 'key' or 'value'");
  auto members = subject.dict().members;
  sort_by(runtime, members, truth(options[2]), [&](const auto& member) {
    return without_case(by == "key" ? member.first : member.second, truth(options[0]));
  });
  Values out;
  for (auto& [key, value] : members) out.push_back(runtime.list({key, value}, Style::tuple));
  return runtime.list(std::move(out));
}

Value unique(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "unique", given, {"case_sensitive", "attribute"}, 0);
  Values out, keys;
  for (const Value& one : items_of(runtime, subject)) {
    const Value key = without_case(get(runtime, one, options[1]), truth(options[0]));
    if (std::any_of(keys.begin(), keys.end(),
                    [&](const Value& seen) { return equal(runtime, seen, key); }))
      continue;
    keys.push_back(key);
    out.push_back(one);
  }
  return generator(runtime, std::move(out), "do_unique");
}

Value extreme(Runtime& runtime, const Value& subject, const Arguments& given, int sign) {
  const Values options = bind(runtime, "min and max", given, {"case_sensitive", "attribute"}, 0);
  const Values items = items_of(runtime, subject);
  if (items.empty()) return Value::undefined("no items, so none is the least or greatest");
  const auto key = [&](const Value& one) {
    return without_case(get(runtime, one, options[1]), truth(options[0]));
  };
  const Value* best = &items[0];
  for (const Value& one : items)
    if (sign * compare(runtime, key(one), key(*best)) > 0) best = &one;
  return *best;
}

Value sum(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "sum", given, {"attribute", "start"}, 0);
  Value total = options[1].is(Kind::undefined) ? Value::of(std::int64_t{0}) : options[1];
  if (total.is(Kind::text)) runtime.refuse("sum does not join texts");
  for (const Value& one : items_of(runtime, subject))
    total = arithmetic(runtime, "+", total, get(runtime, one, options[0]));
  return total;
}

Value join(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "join", given, {"d", "attribute"}, 0);
  const Value by = soft_text(runtime, options[0]);
  std::string out;
  bool first = true;
  for (const Value& one : items_of(runtime, subject)) {
    const Value text = soft_text(runtime, get(runtime, one, options[1]));
    if (!first) out += by.text();
    first = false;
    out += escaped_beside(by, text);
    runtime.step((by.text().size() + text.text().size()) / 16);
  }
  runtime.reserve(out.size());
  return Value::of(std::move(out), by.is_safe());
}

Value batch(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "batch", given, {"linecount", "fill_with"}, 1);
  const std::int64_t size = integer_argument(runtime, options[0], 1);
  if (size < 1) runtime.refuse("batch needs a positive number");
  const auto n = static_cast<std::size_t>(size);
  Values out, row;
  for (const Value& one : items_of(runtime, subject)) {
    if (row.size() == n) out.push_back(runtime.list(std::exchange(row, {})));
    row.push_back(one);
  }
  const bool fill = !options[1].is(Kind::undefined) && !options[1].is(Kind::none);
  if (!row.empty() && fill) {
    runtime.reserve(n, sizeof(Value));
    row.resize(n, options[1]);
  }
  if (!row.empty()) out.push_back(runtime.list(std::move(row)));
  return generator(runtime, std::move(out), "do_batch");
}

Value reverse(Runtime& runtime, const Value& subject) {
  if (subject.is(Kind::text))
    return slice(runtime, subject, Value::none(), Value::none(), Value::of(std::int64_t{-1}));
  if (subject.is_sequence() && subject.sequence().style == Style::generator)
    runtime.refuse("a generator cannot be reversed");
  Values items = items_of(runtime, subject);
  std::reverse(items.begin(), items.end());
  return generator(runtime, std::move(items), "reversed");
}

Value first(Runtime& runtime, const Value& subject) {
  if (subject.is_sequence()) {
    const Sequence& sequence = subject.sequence();
    if (sequence.taken >= sequence.items.size()) return Value::undefined("no first item");
    return sequence.items[sequence.style == Style::generator ? sequence.taken++ : 0];
  }
  const Values items = items_of(runtime, subject);
  return items.empty() ? Value::undefined("no first item") : items.front();
}

Value last(Runtime& runtime, const Value& subject) {
  if (subject.is_sequence() && subject.sequence().style == Style::generator)
    runtime.refuse("a generator has no last item");
  const Values items = items_of(runtime, subject);
  return items.empty() ? Value::undefined("no last item") : items.back();
}

Value dict_items(Runtime& runtime, const Value& subject) {
  Values out;
  if (!subject.is(Kind::undefined) && !subject.is(Kind::dict))
    runtime.refuse("items needs a dict, not a ", type_name(subject));
  if (subject.is(Kind::dict))
    for (const auto& [key, value] : subject.dict().members)
      out.push_back(runtime.list({key, value}, Style::tuple));
  return generator(runtime, std::move(out), "do_items");
}

using Filter = Value (*)(Runtime&, const Value&, const Arguments&);
struct ListFilterRow {
  std::string_view name;
  Filter filter;
};
#define LQ_PLAIN(call)                                 \
  [](Runtime& r, const Value& v, const Arguments& a) { \
    return bind(r, "the filter", a, {}, 0), call;      \
  }
#define LQ_WITH(call) [](Runtime& r, const Value& v, const Arguments& a) { return call; }
constexpr ListFilterRow kListFilters[] = {
    {"map", map},
    {"select", LQ_WITH(choose(r, v, a, false, true))},
    {"reject", LQ_WITH(choose(r, v, a, false, false))},
    {"selectattr", LQ_WITH(choose(r, v, a, true, true))},
    {"rejectattr", LQ_WITH(choose(r, v, a, true, false))},
    {"sort", sort},
    {"dictsort", dictsort},
    {"unique", unique},
    {"min", LQ_WITH(extreme(r, v, a, -1))},
    {"max", LQ_WITH(extreme(r, v, a, 1))},
    {"sum", sum},
    {"join", join},
    {"batch", batch},
    {"reverse", LQ_PLAIN(reverse(r, v))},
    {"first", LQ_PLAIN(first(r, v))},
    {"last", LQ_PLAIN(last(r, v))},
    {"items", LQ_PLAIN(dict_items(r, v))},
    {"list", LQ_PLAIN(r.list(items_of(r, v)))},
};
#undef LQ_PLAIN
#undef LQ_WITH
}  // namespace

bool apply_list_filter(Runtime& runtime, const std::string& name, const Value& subject,
                       const Arguments& arguments, Value& result) {
  for (const ListFilterRow& row : kListFilters)
    if (row.name == name) {
      result = row.filter(runtime, subject, arguments);
      return true;
    }
  return false;
}

}  // namespace lq::jinja
