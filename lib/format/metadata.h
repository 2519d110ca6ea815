#pragma once
// The key-value part of a model file, in file order. Types are GGUF's (specification: GGUF version
// 3).
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace lq {

/// Value types with the numbers that GGUF stores.
enum class ValueType : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};
const char* name_of(ValueType type);

/// Bytes of a stored value of a fixed size; 0 for strings and arrays.
std::size_t stored_bytes(ValueType type);

/// One value: a scalar or an array of scalars; `type`, and `element` for arrays, say how they are
/// stored. In `data`: u64 is uint64_t, every other integer int64_t, f32 and f64 double (exact for
/// f32). In arrays: u64 is uint64_t, other integers and booleans (0 or 1) int64_t, f32 float, f64
/// double.
struct Value {
  using Data = std::variant<std::int64_t, std::uint64_t, double, bool, std::string,
                            std::vector<std::int64_t>, std::vector<std::uint64_t>,
                            std::vector<float>, std::vector<double>, std::vector<std::string>>;
  ValueType type = ValueType::u32;
  ValueType element = ValueType::u32;  ///< of an array
  Data data;

  static Value of_u16(std::uint16_t v);
  static Value of_u32(std::uint32_t v);
  static Value of_i32(std::int32_t v);
  static Value of_u64(std::uint64_t v);
  static Value of_f32(double v);  ///< rounded to binary32
  static Value of_bool(bool v);
  static Value of_string(std::string v);
  static Value of_strings(std::vector<std::string> v);
  static Value of_i32s(std::vector<std::int64_t> v);
  static Value of_f32s(std::vector<float> v);
  static Value of_bools(std::vector<std::int64_t> v);

  std::size_t array_size() const;  ///< elements of an array; 0 for scalars
  bool operator==(const Value&) const = default;
};

/// An ordered map. Typed getters throw Error(input) that names the file, the key, the type found
/// and the type expected; integer getters take any integer type and check the range.
class Metadata {
 public:
  struct Entry {
    std::string key;
    Value value;
  };

  explicit Metadata(std::string file_name = "metadata") : file_name_(std::move(file_name)) {}
  const std::string& file_name() const { return file_name_; }
  /// In file order. Only for looking: set() and remove() invalidate it.
  const std::vector<Entry>& entries() const { return entries_; }

  const Value* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  /// Replaces the value in place, or appends.
  void set(std::string_view key, Value value);
  /// Removes the key if it is there and appends it at the end.
  void move_to_end(std::string_view key, Value value);
  void remove(std::string_view key);

  // Required values: Error(input) when missing.
  std::int64_t integer(std::string_view key, std::int64_t least, std::int64_t most) const;
  double number(std::string_view key) const;  ///< f32, f64 or any integer
  const std::string& string(std::string_view key) const;
  const std::vector<std::string>& strings(std::string_view key) const;
  // Optional values: nothing when missing, Error(input) when there with a wrong type.
  std::optional<std::int64_t> find_integer(std::string_view key, std::int64_t least,
                                           std::int64_t most) const;
  std::optional<double> find_number(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string> find_string(std::string_view key) const;
  std::optional<std::vector<std::string>> find_strings(std::string_view key) const;
  /// find_strings() without a copy; null when missing. Valid until the metadata changes.
  const std::vector<std::string>* view_strings(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> find_integers(std::string_view key) const;
  std::optional<std::vector<float>> find_floats(std::string_view key) const;  ///< f32 or f64

 private:
  std::string file_name_;
  std::vector<Entry> entries_;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const {
      return std::hash<std::string_view>()(key);
    }
  };
  std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> index_;
};

}  // namespace lq
