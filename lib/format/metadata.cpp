#include "lib/format/metadata.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

struct TypeFacts {
  const char* name;
  std::size_t bytes;
};

/// Indexed by ValueType.
constexpr TypeFacts kTypes[] = {{"u8", 1},  {"i8", 1},  {"u16", 2},     {"i16", 2},    {"u32", 4},
                                {"i32", 4}, {"f32", 4}, {"boolean", 1}, {"string", 0}, {"array", 0},
                                {"u64", 8}, {"i64", 8}, {"f64", 8}};

Value scalar(ValueType type, Value::Data data) {
  return {.type = type, .element = ValueType::u32, .data = std::move(data)};
}

Value array(ValueType element, Value::Data data) {
  return {.type = ValueType::array, .element = element, .data = std::move(data)};
}

std::string type_text(const Value& value) {
  std::string text = name_of(value.type);
  if (value.type == ValueType::array) text += std::string(" of ") + name_of(value.element);
  return text;
}

[[noreturn]] void fail_type(const Metadata& metadata, std::string_view key, const Value& found,
                            std::string_view expected) {
  fail(ErrorKind::input, metadata.file_name(), ": key ", quote(key), " is of type ",
       type_text(found), "; expected ", expected);
}

[[noreturn]] void fail_missing(const Metadata& metadata, std::string_view key) {
  fail(ErrorKind::input, metadata.file_name(), ": key ", quote(key), " is missing");
}

template <class T>
T required(const Metadata& metadata, std::string_view key, std::optional<T> value) {
  if (!value) fail_missing(metadata, key);
  return *std::move(value);
}

}  // namespace

const char* name_of(ValueType type) { return kTypes[static_cast<std::size_t>(type)].name; }
std::size_t stored_bytes(ValueType type) { return kTypes[static_cast<std::size_t>(type)].bytes; }

Value Value::of_u16(std::uint16_t v) { return scalar(ValueType::u16, std::int64_t{v}); }
Value Value::of_u32(std::uint32_t v) { return scalar(ValueType::u32, std::int64_t{v}); }
Value Value::of_i32(std::int32_t v) { return scalar(ValueType::i32, std::int64_t{v}); }
Value Value::of_u64(std::uint64_t v) { return scalar(ValueType::u64, v); }
Value Value::of_f32(double v) {
  return scalar(ValueType::f32, static_cast<double>(static_cast<float>(v)));
}
Value Value::of_bool(bool v) { return scalar(ValueType::boolean, v); }
Value Value::of_string(std::string v) { return scalar(ValueType::string, std::move(v)); }
Value Value::of_strings(std::vector<std::string> v) {
  return array(ValueType::string, std::move(v));
}
Value Value::of_i32s(std::vector<std::int64_t> v) { return array(ValueType::i32, std::move(v)); }
Value Value::of_f32s(std::vector<float> v) { return array(ValueType::f32, std::move(v)); }
Value Value::of_bools(std::vector<std::int64_t> v) {
  return array(ValueType::boolean, std::move(v));
}

std::size_t Value::array_size() const {
  return std::visit(
      []<class T>(const T& held) -> std::size_t {
        if constexpr (requires { held.begin(); } && !std::is_same_v<T, std::string>)
          return held.size();
        else
          return 0;
      },
      data);
}

const Value* Metadata::find(std::string_view key) const {
  const auto at = index_.find(key);
  return at == index_.end() ? nullptr : &entries_[at->second].value;
}

void Metadata::set(std::string_view key, Value value) {
  const auto [at, added] = index_.try_emplace(std::string(key), entries_.size());
  if (added)
    entries_.push_back({std::string(key), std::move(value)});
  else
    entries_[at->second].value = std::move(value);
}

void Metadata::move_to_end(std::string_view key, Value value) {
  remove(key);
  set(key, std::move(value));
}

void Metadata::remove(std::string_view key) {
  const auto at = index_.find(key);
  if (at == index_.end()) return;
  const std::size_t gone = at->second;
  index_.erase(at);
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(gone));
  for (std::size_t i = gone; i < entries_.size(); ++i) index_.find(entries_[i].key)->second = i;
}

std::int64_t Metadata::integer(std::string_view key, std::int64_t least, std::int64_t most) const {
  return required(*this, key, find_integer(key, least, most));
}

double Metadata::number(std::string_view key) const {
  return required(*this, key, find_number(key));
}

const std::string& Metadata::string(std::string_view key) const {
  const Value* value = find(key);
  if (!value) fail_missing(*this, key);
  const auto* text = std::get_if<std::string>(&value->data);
  if (!text) fail_type(*this, key, *value, "a string");
  return *text;
}

const std::vector<std::string>& Metadata::strings(std::string_view key) const {
  const auto* texts = view_strings(key);
  if (!texts) fail_missing(*this, key);
  return *texts;
}

std::optional<std::int64_t> Metadata::find_integer(std::string_view key, std::int64_t least,
                                                   std::int64_t most) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  const auto check = [&](auto found) {
    if (std::cmp_less(found, least) || std::cmp_greater(found, most))
      fail(ErrorKind::input, file_name_, ": key ", quote(key), " is ", found, "; expected ", least,
           " to ", most);
    return static_cast<std::int64_t>(found);
  };
  if (const auto* small = std::get_if<std::int64_t>(&value->data)) return check(*small);
  if (const auto* large = std::get_if<std::uint64_t>(&value->data)) return check(*large);
  fail_type(*this, key, *value, "an integer");
}

std::optional<double> Metadata::find_number(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* real = std::get_if<double>(&value->data)) return *real;
  if (const auto* small = std::get_if<std::int64_t>(&value->data))
    return static_cast<double>(*small);
  if (const auto* large = std::get_if<std::uint64_t>(&value->data))
    return static_cast<double>(*large);
  fail_type(*this, key, *value, "a number");
}

std::optional<bool> Metadata::find_bool(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(&value->data)) return *flag;
  fail_type(*this, key, *value, "a boolean");
}

std::optional<std::string> Metadata::find_string(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return string(key);
}

std::optional<std::vector<std::string>> Metadata::find_strings(std::string_view key) const {
  if (const auto* texts = view_strings(key)) return *texts;
  return std::nullopt;
}

const std::vector<std::string>* Metadata::view_strings(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return nullptr;
  const auto* texts = std::get_if<std::vector<std::string>>(&value->data);
  if (!texts) fail_type(*this, key, *value, "an array of strings");
  return texts;
}

std::optional<std::vector<std::int64_t>> Metadata::find_integers(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* small = std::get_if<std::vector<std::int64_t>>(&value->data)) return *small;
  const auto* large = std::get_if<std::vector<std::uint64_t>>(&value->data);
  if (!large) fail_type(*this, key, *value, "an array of integers");
  std::vector<std::int64_t> out;
  out.reserve(large->size());
  for (const std::uint64_t v : *large) {
    if (!std::in_range<std::int64_t>(v))
      fail(ErrorKind::input, file_name_, ": key ", quote(key), " holds ", v, " at index ",
           out.size(), "; expected at most 63 bits");
    out.push_back(static_cast<std::int64_t>(v));
  }
  return out;
}

std::optional<std::vector<float>> Metadata::find_floats(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const auto* floats = std::get_if<std::vector<float>>(&value->data)) return *floats;
  const auto* doubles = std::get_if<std::vector<double>>(&value->data);
  if (!doubles) fail_type(*this, key, *value, "an array of floats");
  std::vector<float> out(doubles->size());
  std::transform(doubles->begin(), doubles->end(), out.begin(),
                 [](double v) { return static_cast<float>(v); });
  return out;
}

}  // namespace lq
