#pragma once
// Makes GGUF files byte by byte, valid ones and ones that no writer would make.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lq::test {

/// Little-endian bytes, one field after the other.
class Bytes {
 public:
  template <class T>
  Bytes& put(T value) {
    return raw(std::as_bytes(std::span(&value, 1)));
  }
  Bytes& raw(std::span<const std::byte> bytes);
  Bytes& text(std::string_view characters) { return raw(std::as_bytes(std::span(characters))); }
  /// A string as GGUF stores it: length and bytes.
  Bytes& string(std::string_view characters) {
    return put(std::uint64_t{characters.size()}).text(characters);
  }

  std::vector<std::byte> all;
};

/// GGUF's numbers of value types.
enum GgufType : std::uint32_t { U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 };

/// Keys and tensors in the order of the calls; a key given again replaces its value in place. Every
/// number in the file can be set to a wrong one.
class GgufBuilder {
 public:
  GgufBuilder& key(std::string_view name, std::uint32_t type, const Bytes& value);
  GgufBuilder& without(std::string_view name);
  GgufBuilder& u8(std::string_view name, std::uint8_t v) { return key(name, U8, Bytes().put(v)); }
  GgufBuilder& u16(std::string_view name, std::uint16_t v) {
    return key(name, U16, Bytes().put(v));
  }
  GgufBuilder& u32(std::string_view name, std::uint32_t v) {
    return key(name, U32, Bytes().put(v));
  }
  GgufBuilder& i32(std::string_view name, std::int32_t v) { return key(name, I32, Bytes().put(v)); }
  GgufBuilder& u64(std::string_view name, std::uint64_t v) {
    return key(name, U64, Bytes().put(v));
  }
  GgufBuilder& i64(std::string_view name, std::int64_t v) { return key(name, I64, Bytes().put(v)); }
  GgufBuilder& f32(std::string_view name, float v) { return key(name, F32, Bytes().put(v)); }
  GgufBuilder& f64(std::string_view name, double v) { return key(name, F64, Bytes().put(v)); }
  GgufBuilder& boolean(std::string_view name, bool v) {
    return key(name, BOOL, Bytes().put(std::uint8_t{v}));
  }
  GgufBuilder& string(std::string_view name, std::string_view v) {
    return key(name, STR, Bytes().string(v));
  }
  GgufBuilder& strings(std::string_view name, const std::vector<std::string>& v);
  /// An array of numbers of type `element`, stored as T.
  template <class T>
  GgufBuilder& numbers(std::string_view name, std::uint32_t element, const std::vector<T>& v) {
    Bytes value;
    value.put(element).put(std::uint64_t{v.size()});
    for (const T one : v) value.put(one);
    return key(name, ARR, value);
  }

  struct Tensor {
    std::string name;
    std::vector<std::int64_t> dims;
    std::uint32_t type = 0;
    std::vector<std::byte> data = {};
    std::optional<std::uint64_t> offset = {};  ///< instead of the right one
    std::optional<std::uint32_t> n_dims = {};  ///< instead of dims.size()
  };
  GgufBuilder& tensor(Tensor tensor);
  /// A tensor of binary32 with some small values.
  GgufBuilder& floats(std::string_view name, const std::vector<std::int64_t>& dims);
  GgufBuilder& without_tensor(std::string_view name);

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;  ///< of the layout; the key is not written by itself
  std::optional<std::uint64_t> n_tensors, n_keys;  ///< instead of the right ones

  std::vector<std::byte> build() const;

 private:
  struct Key {
    std::string name;
    std::uint32_t type;
    Bytes value;
  };
  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
};

/// A complete model of the llama family with one layer: 300 tokens, width 64, 4 heads of 16, 2
/// key-value heads, byte tokens 3 to 258, binary32.
GgufBuilder tiny_llama();

/// A file that somebody may hand us.
struct MalformedModel {
  std::string name;
  std::vector<std::byte> bytes;
  /// Whether the file already breaks the rules of GGUF. Otherwise only its content is odd, and
  /// whoever uses that content has to notice.
  bool bad_container;
};

/// Every kind of broken file that we know of.
std::vector<MalformedModel> malformed_models();

}  // namespace lq::test
