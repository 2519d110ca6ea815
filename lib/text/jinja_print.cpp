// How values look as text.
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "lib/text/jinja_text.h"
#include "lib/text/jinja_value.h"

namespace lq::jinja {

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string text(buffer, end.ptr);
  const std::size_t e = text.find('e');
  const int exponent = std::atoi(text.c_str() + e + 1);
  if (exponent < -4 || exponent >= 16) return text;
  std::string sign, digits;
  for (const char c : text.substr(0, e))
    if (c == '-')
      sign = "-";
    else if (c != '.')
      digits += c;
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return sign + digits + std::string(whole - digits.size(), '0') + ".0";
  return sign + digits.insert(whole, ".");
}

namespace {
void write(Runtime& runtime, std::string& out, const Value& value);

template <class Items, class One>
void write_all(std::string& out, const Items& items, const One& one) {
  bool first = true;
  for (const auto& item : items) {
    if (!first) out += ", ";
    first = false;
    one(item);
  }
}

void write_sequence(Runtime& runtime, std::string& out, const Sequence& sequence) {
  const auto one = [&](const Value& item) { write(runtime, out, item); };
  switch (sequence.style) {
    case Style::list:
      out += '[';
      write_all(out, sequence.items, one);
      out += ']';
      return;
    case Style::tuple:
      out += '(';
      write_all(out, sequence.items, one);
      out += sequence.items.size() == 1 ? ",)" : ")";
      return;
    case Style::view:
      out += sequence.label + "([";
      write_all(out, sequence.items, one);
      out += "])";
      return;
    default:
      out += sequence.label;
  }
}

void write_dict(Runtime& runtime, std::string& out, const Dict& dict) {
  out += '{';
  write_all(out, dict.members, [&](const auto& member) {
    write(runtime, out, member.first);
    out += ": ";
    write(runtime, out, member.second);
  });
  out += '}';
}

/// The only value that may hold itself.
void write_namespace(Runtime& runtime, std::string& out, const Namespace& space) {
  ++runtime.depth;
  runtime.check_depth();
  out += "<Namespace {";
  write_all(out, space.members, [&](const auto& member) {
    out += repr(member.first) + ": ";
    write(runtime, out, member.second);
  });
  out += "}>";
  --runtime.depth;
}

void write(Runtime& runtime, std::string& out, const Value& value) {
  const std::size_t before = out.size();
  runtime.step();
  switch (value.kind()) {
    case Kind::undefined:
      out += "Undefined";
      break;
    case Kind::none:
      out += "None";
      break;
    case Kind::boolean:
      out += value.boolean() ? "True" : "False";
      break;
    case Kind::integer:
      out += std::to_string(value.integer());
      break;
    case Kind::number:
      out += number_text(value.number());
      break;
    case Kind::text:
      if (value.is_safe()) out += "Markup(";
      out += repr(value.text());
      if (value.is_safe()) out += ")";
      break;
    case Kind::sequence:
      write_sequence(runtime, out, value.sequence());
      break;
    case Kind::dict:
      write_dict(runtime, out, value.dict());
      break;
    case Kind::name_space:
      write_namespace(runtime, out, value.name_space());
      break;
    case Kind::callable:
      out += "<function " + value.callable().name + ">";
      break;
    case Kind::loop:
      out += "<loop>";
      break;
  }
  // Shared parts may print many times; nested ones are counted again, which is no harm.
  runtime.step((out.size() - before) / 16);
  if (out.size() > runtime.limits().output_bytes) runtime.reserve(out.size());
}
}  // namespace

std::string repr(Runtime& runtime, const Value& value) {
  std::string out;
  write(runtime, out, value);
  return out;
}

std::string to_text(Runtime& runtime, const Value& value) {
  if (value.is(Kind::text)) return value.text();
  if (value.is(Kind::undefined)) return "";
  return repr(runtime, value);
}

Value soft_text(Runtime& runtime, const Value& value) {
  return value.is(Kind::text) ? value : Value::of(to_text(runtime, value));
}

}  // namespace lq::jinja
