// Python's two ways to put values into a text.
#include <charconv>
#include <cmath>
#include <cstdio>
#include <optional>

#include "lib/base/quote.h"
#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

/// How one value is laid out: [[fill]align][sign][#][0][width][,][.precision][type]
struct Layout {
  std::string fill = " ";
  char align = '\0', sign = '-', type = '\0';
  bool comma = false;
  std::size_t width = 0;
  std::optional<int> precision;
};

std::size_t number_at(Runtime& runtime, std::string_view text, std::size_t& at) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range || value > runtime.limits().output_bytes)
    runtime.refuse("a width in a format is out of range");
  at = static_cast<std::size_t>(end - text.data());
  return value;
}

bool is_digit_at(std::string_view text, std::size_t at) {
  return at < text.size() && text[at] >= '0' && text[at] <= '9';
}

std::string pad(Runtime& runtime, const std::string& text, const Layout& layout, char align) {
  const std::size_t n = count_chars(text);
  if (n >= layout.width) return text;
  const std::size_t missing = layout.width - n;
  runtime.reserve(missing, layout.fill.size());
  const std::size_t left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
  std::string out;
  const bool signed_text = align == '=' && !text.empty() && (text[0] == '-' || text[0] == '+');
  if (signed_text) out += text[0];
  for (std::size_t i = 0; i < left; ++i) out += layout.fill;
  out += signed_text ? text.substr(1) : text;
  for (std::size_t i = left; i < missing; ++i) out += layout.fill;
  return out;
}

/// A text has at most as many characters as its precision.
std::string shortened(const std::string& text, const Layout& layout) {
  if (!layout.precision) return text;
  std::size_t end = 0;
  for (int i = 0; i < *layout.precision && end < text.size(); ++i) next_char(text, end);
  return text.substr(0, end);
}

std::string real_text(Runtime& runtime, double value, const Layout& layout, char type) {
  const int precision = layout.precision.value_or(6);
  if (precision > 1000) runtime.refuse("a precision in a format is out of range");
  const char form[] = {'%', '.', '*', type, '\0'};
  const int n = std::snprintf(nullptr, 0, form, precision, value);
  std::string out(static_cast<std::size_t>(n) + 1, '\0');
  std::snprintf(out.data(), out.size(), form, precision, value);
  out.pop_back();
  return out;
}

std::string integer_text(std::int64_t value, char type) {
  const bool below = value < 0;
  const auto size = below ? std::uint64_t{0} - static_cast<std::uint64_t>(value)
                          : static_cast<std::uint64_t>(value);
  char digits[70];
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  std::string out(digits, std::to_chars(digits, digits + sizeof digits, size, base).ptr);
  if (type == 'X') out = upper(out);
  return below ? "-" + out : out;
}

void add_commas(std::string& digits) {
  const std::size_t start = digits[0] == '-' ? 1 : 0;
  std::size_t at = std::min(digits.find('.'), digits.size());
  while (at > start + 3) digits.insert(at -= 3, 1, ',');
}

bool is_real_type(char type) {
  return std::string_view("eEfFgG").find(type) != std::string_view::npos;
}

/// A number by `layout`; the type is one of d x X o b e f g.
std::string number_layout(Runtime& runtime, const Value& value, const Layout& layout) {
  std::string out;
  if (is_real_type(layout.type))
    out = real_text(runtime, value.number(), layout, layout.type);
  else
    out = integer_text(value.integer(), layout.type);
  if (layout.comma) add_commas(out);
  if (layout.sign != '-' && out[0] != '-') out.insert(0, 1, layout.sign);
  return out;
}

class PercentFormat {
 public:
  PercentFormat(Runtime& runtime, const Value& format, const Value& values)
      : runtime_(runtime), format_(format), text_(format.text()), values_(values) {}

  Value run() {
    std::string out;
    for (std::size_t start = 0;;) {
      const std::size_t at = text_.find('%', start);
      out += text_.substr(start, at - start);
      if (at == std::string_view::npos) break;
      start = at + 1;
      out += conversion(start);
      runtime_.reserve(out.size() / 64);
    }
    const bool all = !is_tuple() || next_ == values_.sequence().items.size();
    if ((is_tuple() && !all) || (!is_tuple() && !values_.is(Kind::dict) && next_ == 0))
      runtime_.refuse("not all values are used by the format");
    return Value::of(std::move(out), format_.is_safe());
  }

 private:
  bool is_tuple() const {
    return values_.is_sequence() && values_.sequence().style == Style::tuple;
  }
  Value next() {
    const std::size_t n = is_tuple() ? values_.sequence().items.size() : 1;
    if (next_ >= n) runtime_.refuse("a format needs more than ", n, " values");
    ++next_;
    return is_tuple() ? values_.sequence().items[next_ - 1] : values_;
  }

  std::string conversion(std::size_t& at) {
    std::optional<Value> named;
    if (at < text_.size() && text_[at] == '(') {
      const std::size_t end = text_.find(')', at);
      if (end == std::string_view::npos || !values_.is(Kind::dict))
        runtime_.refuse("a format names a value; expected a dict");
      named = item(runtime_, values_, Value::of(std::string(text_.substr(at + 1, end - at - 1))));
      if (named->is(Kind::undefined)) runtime_.refuse(named->hint());
      at = end + 1;
    }
    Layout layout;
    layout.align = '>';
    for (; at < text_.size() && std::string_view("-+ 0#").find(text_[at]) != std::string_view::npos;
         ++at)
      if (text_[at] == '-')
        layout.align = '<';
      else if (text_[at] == '0' && layout.align != '<')
        layout.fill = "0", layout.align = '=';
      else if (text_[at] != '#')
        layout.sign = text_[at];
    layout.width = number_at_or_zero(at);
    if (at < text_.size() && text_[at] == '.')
      layout.precision = static_cast<int>(std::min<std::size_t>(number_at_or_zero(++at), 100000));
    if (at >= text_.size()) runtime_.refuse("a format ends inside a conversion");
    layout.type = text_[at++];
    if (layout.type == '%') return "%";
    return one(named ? *named : next(), layout);
  }
  std::size_t number_at_or_zero(std::size_t& at) {
    return is_digit_at(text_, at) ? number_at(runtime_, text_, at) : 0;
  }

  std::string one(const Value& value, Layout layout) {
    if (layout.type == 's' || layout.type == 'r') {
      std::string text = layout.type == 's' ? to_text(runtime_, value) : repr(runtime_, value);
      if (format_.is_safe() && !value.is_safe()) text = escape_html(text);
      text = shortened(text, layout);
      layout.fill = " ";
      return pad(runtime_, text, layout, layout.align == '<' ? '<' : '>');
    }
    if (layout.type == 'i' || layout.type == 'u') layout.type = 'd';
    const bool real = is_real_type(layout.type);
    if (!real && std::string_view("dxXo").find(layout.type) == std::string_view::npos)
      runtime_.refuse("a format has the unknown conversion ", quote(std::string(1, layout.type)));
    if (value.is(Kind::undefined)) runtime_.refuse(value.hint());
    if (!value.is_number() || (!real && layout.type != 'd' && !value.is_integral()))
      runtime_.refuse("a format needs a number, not a ", type_name(value));
    if (!real && value.is(Kind::number)) {
      if (!(std::fabs(value.number()) < 9e18)) runtime_.refuse("an integer is out of range");
      const Value whole = Value::of(static_cast<std::int64_t>(value.number()));
      return pad(runtime_, number_layout(runtime_, whole, layout), layout, layout.align);
    }
    return pad(runtime_, number_layout(runtime_, value, layout), layout, layout.align);
  }

  Runtime& runtime_;
  const Value& format_;
  std::string_view text_;
  const Value& values_;
  std::size_t next_ = 0;
};

class BraceFormat {
 public:
  BraceFormat(Runtime& runtime, const Value& format, const Arguments& arguments)
      : runtime_(runtime), format_(format), text_(format.text()), arguments_(arguments) {}

  Value run() {
    std::string out;
    for (std::size_t at = 0; at < text_.size();) {
      const char c = text_[at++];
      if ((c == '{' || c == '}') && at < text_.size() && text_[at] == c) {
        out += text_[at++];
      } else if (c == '{') {
        const std::size_t end = text_.find('}', at);
        if (end == std::string_view::npos) runtime_.refuse("a format has no closing '}'");
        out += field(text_.substr(at, end - at));
        runtime_.reserve(out.size() / 64);
        at = end + 1;
      } else if (c == '}') {
        runtime_.refuse("a format has a '}' without '{'");
      } else {
        out += c;
      }
    }
    return Value::of(std::move(out), format_.is_safe());
  }

 private:
  std::string field(std::string_view text) {
    if (text.find('{') != std::string_view::npos)
      runtime_.refuse("a format with fields inside of fields is not supported");
    const std::size_t colon = std::min(text.find(':'), text.size());
    const std::string_view layout = colon < text.size() ? text.substr(colon + 1) : "";
    std::string_view name = text.substr(0, colon);
    char conversion = '\0';
    if (name.size() >= 2 && name[name.size() - 2] == '!') {
      conversion = name.back();
      name.remove_suffix(2);
    }
    Value value = find_value(name);
    if (conversion == 'r') value = Value::of(repr(runtime_, value));
    if (conversion == 's') value = Value::of(to_text(runtime_, value));
    const std::string shown = lay_out(value, layout);
    return format_.is_safe() && !value.is_safe() ? escape_html(shown) : shown;
  }

  /// name, name.attribute, name[key]; the name may be a number or missing
  Value find_value(std::string_view path) {
    std::size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = base(path.substr(0, end));
    while (end < path.size()) {
      const bool bracket = path[end] == '[';
      const std::size_t start = end + 1;
      end = bracket ? path.find(']', start) : path.find_first_of(".[", start);
      if (bracket && end == std::string_view::npos) runtime_.refuse("a format has no closing ']'");
      end = std::min(end, path.size());
      const std::string key(path.substr(start, end - start));
      std::size_t at = 0;
      if (bracket && is_digit_at(key, 0))
        value = item(runtime_, value,
                     Value::of(static_cast<std::int64_t>(number_at(runtime_, key, at))));
      else
        value = bracket ? item(runtime_, value, Value::of(key)) : attribute(runtime_, value, key);
      if (bracket) ++end;
    }
    return value;
  }

  Value base(std::string_view name) {
    std::size_t at = 0;
    if (name.empty() || is_digit_at(name, 0)) {
      const std::size_t index = name.empty() ? next_++ : number_at(runtime_, name, at);
      if (index >= arguments_.positional.size())
        runtime_.refuse("a format needs more than ", arguments_.positional.size(), " values");
      return arguments_.positional[index];
    }
    for (const auto& [key, value] : arguments_.named)
      if (key == name) return value;
    runtime_.refuse("a format needs a value ", quote(name));
  }

  Layout parse_layout(std::string_view text) {
    Layout layout;
    std::size_t at = 0;
    const auto is_align = [&](std::size_t i) {
      return i < text.size() && std::string_view("<>=^").find(text[i]) != std::string_view::npos;
    };
    if (!text.empty()) {
      std::size_t after = 0;
      next_char(text, after);
      if (is_align(after)) {
        layout.fill = text.substr(0, after);
        layout.align = text[after];
        at = after + 1;
      } else if (is_align(0)) {
        layout.align = text[at++];
      }
    }
    if (at < text.size() && std::string_view("+- ").find(text[at]) != std::string_view::npos)
      layout.sign = text[at++];
    if (at < text.size() && text[at] == '0' && layout.align == '\0') {
      layout.fill = "0";
      layout.align = '=';
      ++at;
    }
    if (is_digit_at(text, at)) layout.width = number_at(runtime_, text, at);
    if (at < text.size() && text[at] == ',') layout.comma = true, ++at;
    if (at < text.size() && text[at] == '.' && is_digit_at(text, ++at))
      layout.precision =
          static_cast<int>(std::min<std::size_t>(number_at(runtime_, text, at), 100000));
    if (at < text.size()) layout.type = text[at++];
    if (at != text.size()) runtime_.refuse("a format has the unknown layout ", quote(text));
    return layout;
  }

  std::string lay_out(const Value& value, std::string_view text) {
    if (text.empty()) return to_text(runtime_, value);
    Layout layout = parse_layout(text);
    const bool number = value.is_number() && layout.type != 's';
    if (!number) {
      if (!value.is(Kind::text) || (layout.type != '\0' && layout.type != 's'))
        runtime_.refuse("a ", type_name(value), " does not go with the layout ", quote(text));
      return pad(runtime_, shortened(value.text(), layout), layout,
                 layout.align == '\0' ? '<' : layout.align);
    }
    if (layout.type == '\0' && value.is_integral()) layout.type = 'd';
    const bool known = std::string_view("dxXobeEfFgG").find(layout.type) != std::string_view::npos;
    if (!known || (!is_real_type(layout.type) && !value.is_integral()))
      runtime_.refuse("a ", type_name(value), " does not go with the layout ", quote(text));
    return pad(runtime_, number_layout(runtime_, value, layout), layout,
               layout.align == '\0' ? '>' : layout.align);
  }

  Runtime& runtime_;
  const Value& format_;
  std::string_view text_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
};

}  // namespace

Value format_percent(Runtime& runtime, const Value& format, const Value& values) {
  return PercentFormat(runtime, format, values).run();
}

Value format_braces(Runtime& runtime, const Value& format, const Arguments& arguments) {
  return BraceFormat(runtime, format, arguments).run();
}

}  // namespace lq::jinja
