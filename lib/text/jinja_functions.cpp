// What templates can call without a dot.
#include <array>
#include <ctime>

#include "lib/base/quote.h"
#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;  // as in Jinja's sandbox

Value raise_exception(Runtime& runtime, const Arguments& given) {
  const Values options = bind(runtime, "raise_exception", given, {"message"}, 1);
  runtime.refuse("the template refuses: ", quote(to_text(runtime, options[0]), 1000));
}

Value strftime_now(Runtime& runtime, const Arguments& given) {
  const Values options = bind(runtime, "strftime_now", given, {"format"}, 1);
  if (!options[0].is(Kind::text)) runtime.refuse("strftime_now needs a text");
  const std::string& format = options[0].text();
  if (format.empty()) return Value::of("");
  if (format.size() > 1000) runtime.refuse("strftime_now: the format is too long");
  const std::time_t now = std::chrono::system_clock::to_time_t(runtime.now());
  std::tm parts{};
  localtime_r(&now, &parts);
  // The fields that templates show do not depend on the locale: English names, as in Python's "C".
  std::array<char, 65536> buffer;
  const std::size_t n = std::strftime(buffer.data(), buffer.size(), format.c_str(), &parts);
  return Value::of(std::string(buffer.data(), n));
}

Value range(Runtime& runtime, const Arguments& given) {
  const Values options = bind(runtime, "range", given, {"start", "stop", "step"}, 1);
  for (const Value& option : given.positional)
    if (!option.is_integral()) runtime.refuse("range needs integers, not a ", type_name(option));
  const bool one = given.positional.size() < 2;
  const std::int64_t start = one ? 0 : integer_argument(runtime, options[0], 0);
  const std::int64_t stop = integer_argument(runtime, options[one ? 0 : 1], 0);
  const std::int64_t step = integer_argument(runtime, options[2], 1);
  if (step == 0) runtime.refuse("range cannot have step 0");
  Values items;
  for (std::int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<std::int64_t>(items.size()) == kMaxRange)
      runtime.refuse("range has more than ", kMaxRange, " items");
    items.push_back(Value::of(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  std::string label = "range(" + std::to_string(start) + ", " + std::to_string(stop);
  if (step != 1) label += ", " + std::to_string(step);
  return runtime.list(std::move(items), Style::range, label + ")");
}

/// Members from a dict or pairs, then from the named arguments.
std::vector<std::pair<Value, Value>> members_of(Runtime& runtime, const Arguments& given) {
  std::vector<std::pair<Value, Value>> members;
  if (given.positional.size() > 1) runtime.refuse("a dict is made of one value and named ones");
  for (const Value& source : given.positional) {
    if (source.is(Kind::dict)) {
      members = source.dict().members;
      continue;
    }
    for (const Value& pair : items_of(runtime, source)) {
      const Values parts = items_of(runtime, pair);
      if (parts.size() != 2) runtime.refuse("a dict is made of pairs");
      put(runtime, members, parts[0], parts[1]);
    }
  }
  for (const auto& [key, value] : given.named) put(runtime, members, Value::of(key), value);
  return members;
}

Value make_dict(Runtime& runtime, const Arguments& given) {
  return runtime.dict(members_of(runtime, given));
}

Value make_namespace(Runtime& runtime, const Arguments& given) {
  Value space = runtime.new_namespace();
  for (auto& [key, value] : members_of(runtime, given)) {
    if (!key.is(Kind::text)) runtime.refuse("a namespace has texts as names");
    space.name_space().members.emplace_back(key.text(), std::move(value));
  }
  return space;
}

/// Nothing the first time, then the separator.
Value joiner(Runtime& runtime, const Arguments& given) {
  const Values options = bind(runtime, "joiner", given, {"sep"}, 0);
  const Value separator = options[0].is(Kind::undefined) ? Value::of(", ") : options[0];
  return runtime.function(
      "joiner",
      [separator, used = std::make_shared<bool>(false)](Runtime&, const Arguments&) {
        return std::exchange(*used, true) ? separator : Value::of("");
      },
      separator.depth());
}

/// An object with next(), reset() and current, which `next` keeps up to date.
Value cycler(Runtime& runtime, const Arguments& given) {
  if (given.positional.empty()) runtime.refuse("cycler needs values");
  Value space = runtime.new_namespace();
  const Value items = runtime.list(given.positional);
  const auto at = std::make_shared<std::size_t>(0);
  auto& members = space.name_space().members;
  members.emplace_back("current", items.sequence().items[0]);
  // The namespace holds these functions; the runtime outlives both and empties it.
  const Namespace* const self = &space.name_space();
  const auto show = [items, at, self] {
    for (auto& [key, value] : self->members)
      if (key == "current") value = items.sequence().items[*at];
  };
  members.emplace_back("next", runtime.function(
                                   "next",
                                   [items, at, show](Runtime&, const Arguments&) {
                                     const Value now = items.sequence().items[*at];
                                     *at = (*at + 1) % items.sequence().items.size();
                                     show();
                                     return now;
                                   },
                                   items.depth()));
  members.emplace_back("reset", runtime.function(
                                    "reset",
                                    [at, show](Runtime&, const Arguments&) {
                                      *at = 0;
                                      show();
                                      return Value::none();
                                    },
                                    items.depth()));
  return space;
}

struct FunctionRow {
  std::string_view name;
  Value (*function)(Runtime&, const Arguments&);
};
constexpr FunctionRow kFunctions[] = {
    {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
    {"range", range},
    {"dict", make_dict},
    {"namespace", make_namespace},
    {"joiner", joiner},
    {"cycler", cycler},
};
}  // namespace

Value global_function(Runtime& runtime, const std::string& name) {
  for (const FunctionRow& row : kFunctions)
    if (row.name == name) return runtime.function(name, row.function);
  return Value();
}

}  // namespace lq::jinja
