// Filters of single values: texts and numbers.
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "lib/base/quote.h"
#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

Value same_mark(const Value& like, std::string text) {
  return Value::of(std::move(text), like.is_safe());
}

template <std::string (*change)(std::string_view)>
Value changed(Runtime& runtime, const Value& subject, const Arguments& given) {
  bind(runtime, "the filter", given, {}, 0);
  const Value text = soft_text(runtime, subject);
  runtime.reserve(text.text().size());
  return same_mark(text, change(text.text()));
}

Value title_filter(Runtime& runtime, const Value& subject, const Arguments&) {
  const std::string text = to_text(runtime, subject);
  std::string out, word;
  const auto end_word = [&] { out += capitalize(std::exchange(word, {})); };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_char(text, at);
    if (c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_space(c)) {
      end_word();
      out += text.substr(start, at - start);
    } else {
      word += text.substr(start, at - start);
    }
  }
  end_word();
  return Value::of(std::move(out));
}

Value trim(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "trim", given, {"chars"}, 0);
  const Value text = soft_text(runtime, subject);
  const std::string* const chars = options[0].is(Kind::text) ? &options[0].text() : nullptr;
  return same_mark(text, std::string(strip(text.text(), chars, true, true)));
}

Value replace_filter(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "replace", given, {"old", "new", "count"}, 2);
  const std::string text = to_text(runtime, subject), from = to_text(runtime, options[0]),
                    to = to_text(runtime, options[1]);
  const bool limited = !options[2].is(Kind::undefined) && !options[2].is(Kind::none);
  runtime.reserve(text.size());
  runtime.reserve(count_parts(text, from), to.size());
  return Value::of(
      replace(text, from, to, limited ? integer_argument(runtime, options[2], -1) : -1));
}

Value default_filter(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "default", given, {"default_value", "boolean"}, 0);
  if (!subject.is(Kind::undefined) && (!truth(options[1]) || truth(subject))) return subject;
  const bool absent = given.positional.empty() && options[0].is(Kind::undefined);
  return absent ? Value::of("") : options[0];
}

Value indent(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "indent", given, {"width", "first", "blank"}, 0);
  const Value text = soft_text(runtime, subject);
  std::string by;
  if (options[0].is(Kind::text)) {
    by = options[0].text();
  } else {
    const std::int64_t width = std::max<std::int64_t>(0, integer_argument(runtime, options[0], 4));
    runtime.reserve(static_cast<std::size_t>(width));
    by.assign(static_cast<std::size_t>(width), ' ');
  }
  const std::string source = text.text() + "\n";
  const auto lines = split_lines(source, false);
  runtime.reserve(text.text().size());
  runtime.reserve(lines.size(), by.size());
  std::string out = truth(options[1]) ? by : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (truth(options[2]) || !lines[i].empty())) out += by;
    out += lines[i];
  }
  return same_mark(text, std::move(out));
}

Value truncate(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options =
      bind(runtime, "truncate", given, {"length", "killwords", "end", "leeway"}, 0);
  const Value text = soft_text(runtime, subject);
  const std::string end = options[2].is(Kind::undefined) ? "..." : to_text(runtime, options[2]);
  const std::int64_t length = integer_argument(runtime, options[0], 255);
  const std::int64_t leeway =
      options[3].is(Kind::none) ? 5 : integer_argument(runtime, options[3], 5);
  const auto end_size = static_cast<std::int64_t>(count_chars(end));
  if (length < end_size || leeway < 0 || length > (std::int64_t{1} << 40) ||
      leeway > (std::int64_t{1} << 40))
    runtime.refuse("truncate: the length is out of range");
  if (static_cast<std::int64_t>(count_chars(text.text())) <= length + leeway) return text;
  const Value kept =
      slice(runtime, text, Value::none(), Value::of(length - end_size), Value::none());
  if (truth(options[1])) return same_mark(text, kept.text() + end);
  return same_mark(text, std::string(rsplit(kept.text(), " ", 1)[0]) + end);
}

/// What a number's text has to be for from_chars: no white space around, no '+', no '_' between
/// digits; empty when it is no number for Python.
std::string plain_digits(std::string_view text) {
  text = strip(text, nullptr, true, true);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) {
      return at < text.size() && std::isxdigit(static_cast<unsigned char>(text[at]));
    };
    if (text[i] == '_' && !(i > 0 && digit(i - 1) && digit(i + 1))) return "";
    if (text[i] != '_') out += text[i];
  }
  if (out.size() > 1 && out[0] == '+' && out[1] != '-') out.erase(0, 1);
  return out;
}

/// The number that `text` spells; nothing when it spells none.
std::optional<double> parsed_number(std::string_view text) {
  const std::string digits = plain_digits(text);
  double value = 0;
  const char* const last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(digits.data(), last, value);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

std::optional<std::int64_t> whole(double value) {
  if (!(std::fabs(value) < 9.2e18)) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

std::optional<std::int64_t> parsed_integer(std::string_view text, int base) {
  std::string digits = plain_digits(text);
  const std::size_t start = digits.starts_with('-') ? 1 : 0;
  const char mark = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
  if (mark != '\0' && digits.size() > start + 2 && digits[start] == '0' &&
      (digits[start + 1] | 0x20) == mark && digits[start + 2] != '-')
    digits.erase(start, 2);
  std::int64_t value = 0;
  const char* const last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(digits.data(), last, value, base);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

Value int_filter(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "int", given, {"default", "base"}, 0);
  const Value fallback = options[0].is(Kind::undefined) ? Value::of(std::int64_t{0}) : options[0];
  const std::int64_t base = integer_argument(runtime, options[1], 10);
  if (base < 2 || base > 36) runtime.refuse("int: the base is not in 2 ... 36");
  if (subject.is(Kind::undefined)) runtime.refuse(subject.hint());
  if (subject.is_integral()) return Value::of(subject.integer());
  std::optional<double> real;
  if (subject.is(Kind::number)) real = subject.number();
  if (subject.is(Kind::text)) {
    if (const auto integer = parsed_integer(subject.text(), static_cast<int>(base)))
      return Value::of(*integer);
    real = parsed_number(subject.text());
  }
  const auto integer = real ? whole(*real) : std::nullopt;
  return integer ? Value::of(*integer) : fallback;
}

Value float_filter(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "float", given, {"default"}, 0);
  if (subject.is(Kind::undefined)) runtime.refuse(subject.hint());
  if (subject.is_number()) return Value::of(subject.number());
  const auto real = subject.is(Kind::text) ? parsed_number(subject.text()) : std::nullopt;
  if (real) return Value::of(*real);
  return options[0].is(Kind::undefined) ? Value::of(0.0) : options[0];
}

Value abs_filter(Runtime& runtime, const Value& subject, const Arguments& given) {
  bind(runtime, "abs", given, {}, 0);
  if (!subject.is_number()) runtime.refuse("a ", type_name(subject), " has no absolute value");
  if (subject.is(Kind::number)) return Value::of(std::fabs(subject.number()));
  return subject.integer() < 0 ? negative(runtime, subject) : Value::of(subject.integer());
}

Value round_filter(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "round", given, {"precision", "method"}, 0);
  if (!subject.is_number()) runtime.refuse("a ", type_name(subject), " cannot be rounded");
  const std::int64_t precision = integer_argument(runtime, options[0], 0);
  if (precision < 0 || precision > 300) runtime.refuse("round: the precision is not in 0 ... 300");
  const std::string method =
      options[1].is(Kind::undefined) ? "common" : to_text(runtime, options[1]);
  if (method == "common") {
    if (subject.is_integral()) return Value::of(subject.integer());
    if (!std::isfinite(subject.number())) return subject;
    // printf rounds the exact binary value, half to even, as Python does.
    char digits[700];
    const int n =
        std::snprintf(digits, sizeof digits, "%.*f", static_cast<int>(precision), subject.number());
    double value = 0;
    std::from_chars(digits, digits + n, value);
    return Value::of(value);
  }
  if (method != "ceil" && method != "floor")
    runtime.refuse("round: the method is 'common', 'ceil' or 'floor'");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = subject.number() * scale;
  return Value::of((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value format_filter(Runtime& runtime, const Value& subject, const Arguments& given) {
  if (!given.positional.empty() && !given.named.empty())
    runtime.refuse("format takes values by position or by name, not both");
  if (given.named.empty())
    return format_percent(runtime, soft_text(runtime, subject),
                          runtime.list(given.positional, Style::tuple));
  std::vector<std::pair<Value, Value>> named;
  for (const auto& [key, value] : given.named) put(runtime, named, Value::of(key), value);
  return format_percent(runtime, soft_text(runtime, subject), runtime.dict(std::move(named)));
}

Value word_count(Runtime& runtime, const Value& subject, const Arguments&) {
  const std::string text = to_text(runtime, subject);
  std::int64_t n = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_char(text, at);
    const bool letter = is_alpha(c) || is_numeric(c) || c == '_';
    n += letter && !inside;
    inside = letter;
  }
  return Value::of(n);
}

Value center(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "center", given, {"width"}, 0);
  const Value text = soft_text(runtime, subject);
  const std::int64_t width = integer_argument(runtime, options[0], 80);
  const auto n = static_cast<std::int64_t>(count_chars(text.text()));
  if (width <= n) return text;
  runtime.reserve(static_cast<std::size_t>(width));
  const std::int64_t missing = width - n, left = missing / 2 + (missing & width & 1);
  return same_mark(text, std::string(static_cast<std::size_t>(left), ' ') + text.text() +
                             std::string(static_cast<std::size_t>(missing - left), ' '));
}

Value escape(Runtime& runtime, const Value& subject, const Arguments&) {
  const Value text = soft_text(runtime, subject);
  return text.is_safe() ? text : Value::of(escape_html(text.text()), true);
}

Value attr(Runtime& runtime, const Value& subject, const Arguments& given) {
  const Values options = bind(runtime, "attr", given, {"name"}, 1);
  const Value name = soft_text(runtime, options[0]);
  if (subject.is(Kind::dict) && find(runtime, subject.dict(), name))
    return Value::undefined("a key is no attribute");
  return attribute(runtime, subject, name.text());
}

using Filter = Value (*)(Runtime&, const Value&, const Arguments&);
struct FilterRow {
  std::string_view name;
  Filter filter;
};
constexpr Filter kLength = [](Runtime& runtime, const Value& subject, const Arguments&) {
  return Value::of(static_cast<std::int64_t>(length_of(runtime, subject)));
};
constexpr FilterRow kFilters[] = {
    {"tojson", to_json},
    {"trim", trim},
    {"length", kLength},
    {"count", kLength},
    {"string", [](Runtime& r, const Value& v, const Arguments&) { return soft_text(r, v); }},
    {"default", default_filter},
    {"d", default_filter},
    {"safe",
     [](Runtime& r, const Value& v, const Arguments&) { return Value::of(to_text(r, v), true); }},
    {"upper", changed<upper>},
    {"lower", changed<lower>},
    {"capitalize", changed<capitalize>},
    {"title", title_filter},
    {"replace", replace_filter},
    {"indent", indent},
    {"truncate", truncate},
    {"int", int_filter},
    {"float", float_filter},
    {"abs", abs_filter},
    {"round", round_filter},
    {"format", format_filter},
    {"wordcount", word_count},
    {"center", center},
    {"escape", escape},
    {"e", escape},
    {"forceescape", [](Runtime& r, const Value& v,
                       const Arguments&) { return Value::of(escape_html(to_text(r, v)), true); }},
    {"attr", attr},
};
}  // namespace

Value apply_filter(Runtime& runtime, const std::string& name, const Value& subject,
                   const Arguments& arguments) {
  runtime.step();
  for (const FilterRow& row : kFilters)
    if (row.name == name) return row.filter(runtime, subject, arguments);
  Value result;
  if (apply_list_filter(runtime, name, subject, arguments, result)) return result;
  runtime.refuse("no filter named ", quote(name));
}

}  // namespace lq::jinja
