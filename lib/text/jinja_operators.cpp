#include <cmath>
#include <limits>

#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

[[noreturn]] void refuse_pair(Runtime& runtime, const std::string& sign, const Value& a,
                              const Value& b) {
  if (a.is(Kind::undefined)) runtime.refuse(a.hint());
  if (b.is(Kind::undefined)) runtime.refuse(b.hint());
  runtime.refuse("a ", type_name(a), " and a ", type_name(b), " do not go with '", sign, "'");
}

Value integer_power(Runtime& runtime, std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) runtime.refuse("0 has no negative power");
    return Value::of(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t power = 1;
  if (base >= -1 && base <= 1)
    return Value::of(exponent % 2 != 0 ? base : exponent == 0 ? power : base * base);
  for (; exponent > 0; --exponent)
    if (__builtin_mul_overflow(power, base, &power)) runtime.refuse("an integer is out of range");
  return Value::of(power);
}

Value of_integers(Runtime& runtime, const std::string& sign, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  if (sign == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (sign == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (sign == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (sign == "**") {
    return integer_power(runtime, a, b);
  } else {
    if (b == 0) runtime.refuse("division by zero");
    if (sign == "/") return Value::of(static_cast<double>(a) / static_cast<double>(b));
    overflow = a == std::numeric_limits<std::int64_t>::min() && b == -1;
    if (!overflow) {
      const std::int64_t rest = a % b;
      const bool down = rest != 0 && (rest < 0) != (b < 0);  // Python rounds towards minus infinity
      result = sign == "//" ? a / b - down : rest + (down ? b : 0);
    }
  }
  if (overflow) runtime.refuse("an integer is out of range");
  return Value::of(result);
}

Value of_numbers(Runtime& runtime, const std::string& sign, double a, double b) {
  if (sign == "+") return Value::of(a + b);
  if (sign == "-") return Value::of(a - b);
  if (sign == "*") return Value::of(a * b);
  if (sign == "**") {
    const double power = std::pow(a, b);
    if (std::isnan(power) || (std::isinf(power) && !std::isinf(a) && !std::isinf(b)))
      runtime.refuse("a power is out of range");
    return Value::of(power);
  }
  if (b == 0) runtime.refuse("division by zero");
  if (sign == "/") return Value::of(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (sign == "%") return Value::of(rest == 0 ? std::copysign(0.0, b) : rest);
  return Value::of(std::round((a - rest) / b));
}

Value repeat(Runtime& runtime, const Value& value, std::int64_t times) {
  const std::size_t n = times < 0 ? 0 : static_cast<std::size_t>(times);
  if (value.is(Kind::text)) {
    runtime.reserve(n, value.text().size());
    std::string out;
    if (!value.text().empty()) {
      out.reserve(n * value.text().size());
      for (std::size_t i = 0; i < n; ++i) out += value.text();
    }
    return Value::of(std::move(out), value.is_safe());
  }
  const Sequence& sequence = value.sequence();
  runtime.reserve(n, sequence.items.size() * sizeof(Value));
  Values items;
  if (!sequence.items.empty())
    for (std::size_t i = 0; i < n; ++i)
      items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  return runtime.list(std::move(items), sequence.style);
}

bool is_plain(const Value& value) {
  return value.is_sequence() && value.sequence().style <= Style::tuple;
}
}  // namespace

std::string escaped_beside(const Value& beside, const Value& text) {
  return beside.is_safe() && !text.is_safe() ? escape_html(text.text()) : text.text();
}

Value join_text(Runtime& runtime, const Value& left, const Value& right) {
  runtime.reserve(left.text().size() + right.text().size());
  return Value::of(escaped_beside(right, left) + escaped_beside(left, right),
                   left.is_safe() || right.is_safe());
}

Value arithmetic(Runtime& runtime, const std::string& sign, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral())
    return of_integers(runtime, sign, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return of_numbers(runtime, sign, a.number(), b.number());
  if (sign == "+" && a.is(Kind::text) && b.is(Kind::text)) return join_text(runtime, a, b);
  if (sign == "+" && is_plain(a) && is_plain(b) && a.sequence().style == b.sequence().style) {
    Values items = a.sequence().items;
    items.insert(items.end(), b.sequence().items.begin(), b.sequence().items.end());
    return runtime.list(std::move(items), a.sequence().style);
  }
  if (sign == "*" && (a.is(Kind::text) || is_plain(a)) && b.is_integral())
    return repeat(runtime, a, b.integer());
  if (sign == "*" && (b.is(Kind::text) || is_plain(b)) && a.is_integral())
    return repeat(runtime, b, a.integer());
  if (sign == "%" && a.is(Kind::text)) return format_percent(runtime, a, b);
  refuse_pair(runtime, sign, a, b);
}

Value negative(Runtime& runtime, const Value& value) {
  if (value.is_integral()) return of_integers(runtime, "-", 0, value.integer());
  if (value.is(Kind::number)) return Value::of(-value.number());
  if (value.is(Kind::undefined)) runtime.refuse(value.hint());
  runtime.refuse("a ", type_name(value), " has no negative");
}

}  // namespace lq::jinja
