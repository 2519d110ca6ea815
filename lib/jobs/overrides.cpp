#include "lib/jobs/overrides.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr std::size_t kMaxText = 127;  // bytes of a key or a string, as the reference

/// Keys that say how the file is laid out: another value would make it unreadable.
constexpr std::string_view kLayoutKeys[] = {"general.alignment", "split."};

struct Override {
  std::string_view text;  ///< all of it, for messages
  std::string_view value;

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(ErrorKind::usage, "override ", quote(text), ": ", parts...);
  }
};

/// The whole value as a number.
template <class Number>
Number parse_number(const Override& given, const char* expected) {
  Number number{};
  const char* const end = given.value.data() + given.value.size();
  const auto [at, error] = std::from_chars(given.value.data(), end, number);
  if (given.value.empty() || at != end || error != std::errc())
    given.refuse("the value ", quote(given.value), " is not ", expected);
  return number;
}

Value parse_int(const Override& given) {
  constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
  const auto number = parse_number<std::int64_t>(given, "a whole number from 0 to 4294967295");
  if (number < 0 || number > kMost)
    given.refuse("the value ", number,
                 " does not fit; integers are stored with 32 bits, from 0 to ", kMost);
  return Value::of_u32(static_cast<std::uint32_t>(number));
}

Value parse_float(const Override& given) {
  const auto number = parse_number<double>(given, "a number");
  if (!std::isfinite(number) || !std::isfinite(static_cast<float>(number)))
    given.refuse("the value ", given.value, " is not finite as a 32-bit number");
  return Value::of_f32(number);
}

Value parse_bool(const Override& given) {
  if (given.value != "true" && given.value != "false")
    given.refuse("the value ", quote(given.value), " is neither true nor false");
  return Value::of_bool(given.value == "true");
}

Value parse_text(const Override& given) {
  if (given.value.size() > kMaxText)
    given.refuse("the value has ", given.value.size(), " bytes; expected at most ", kMaxText);
  return Value::of_string(std::string(given.value));
}

struct OverrideKind {
  std::string_view name;
  Value (*parse)(const Override& given);
};
constexpr OverrideKind kKinds[] = {
    {"int", parse_int}, {"float", parse_float}, {"bool", parse_bool}, {"str", parse_text}};

void check_key(std::string_view text, std::string_view key) {
  const Override given{text, {}};
  if (key.empty()) given.refuse("the key is empty");
  if (key.size() > kMaxText)
    given.refuse("the key has ", key.size(), " bytes; expected at most ", kMaxText);
  for (const char c : key)
    if (c <= ' ' || c == 127) given.refuse("keys have no spaces and no control characters");
  for (const std::string_view layout : kLayoutKeys)
    if (key.substr(0, layout.size()) == layout)
      given.refuse("this key describes the file and cannot be chosen");
}

/// What a value is, seen by those who read it.
std::string_view kind_of(ValueType type) {
  switch (type) {
    case ValueType::string:
      return "text";
    case ValueType::array:
      return "a list";
    case ValueType::boolean:
      return "a truth value";
    case ValueType::f32:
    case ValueType::f64:
      return "a number with a fraction";
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::u16:
    case ValueType::i16:
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::u64:
    case ValueType::i64:
      break;
  }
  return "a whole number";
}

}  // namespace

Metadata::Entry parse_override(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::size_t colon = equals == text.npos ? equals : text.find(':', equals);
  if (colon == text.npos)
    fail(ErrorKind::usage, "override ", quote(text), " is not of the form KEY=TYPE:VALUE");
  const std::string_view key = text.substr(0, equals);
  const std::string_view type = text.substr(equals + 1, colon - equals - 1);
  check_key(text, key);
  for (const OverrideKind& kind : kKinds)
    if (kind.name == type) return {std::string(key), kind.parse({text, text.substr(colon + 1)})};
  fail(ErrorKind::usage, "override ", quote(text), ": unknown type ", quote(type),
       "; types are int, float, bool, str");
}

void apply_overrides(Metadata& metadata, std::span<const Metadata::Entry> overrides) {
  for (const auto& [key, value] : overrides) {
    const Value* was = metadata.find(key);
    if (was && kind_of(was->type) != kind_of(value.type))
      fail(ErrorKind::usage, "override of ", quote(key), ": the model's value is ",
           kind_of(was->type), "; the one given is ", kind_of(value.type));
    metadata.move_to_end(key, value);
  }
}

}  // namespace lq
