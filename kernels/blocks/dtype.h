#pragma once
// Names every storage type and all that the rest of the program may know of it.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lq {

enum class DType : std::uint8_t {
#define LQ_DTYPE(id, name, block, gguf_id, max_rmse) id,
#define LQ_STORAGE(id, name, gguf_id, values, bytes) id,
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  kCount
};

inline constexpr int kDTypeCount = static_cast<int>(DType::kCount);
/// Place of `type` in tables with one row a type.
constexpr std::size_t index_of(DType type) { return static_cast<std::size_t>(type); }

/// Number of types that GGUF files cannot hold.
inline constexpr std::uint32_t kNotInGguf = 0xffffffffu;

struct DTypeTraits {
  const char* name;  ///< as printed and written on the command line (case does not matter there)
  std::uint32_t gguf_id;  ///< the type number stored in GGUF files, or kNotInGguf
  int values;             ///< values in a block; rows are whole blocks
  std::size_t bytes;      ///< bytes in a block
  double max_rmse;        ///< bound that encode -> decode meets on N(0,1)
  /// Writes n_values (a multiple of `values`) decoded values. Null for types that can only be
  /// copied.
  void (*decode)(const void* blocks, float* out, std::size_t n_values) noexcept;
  /// Encodes one row of n_values (a multiple of `values`) finite values. `importance` holds one
  /// weight a column, or is null. Same bytes on every machine. Null for types that can only be
  /// copied.
  void (*encode)(const float* row, const float* importance, void* blocks,
                 std::size_t n_values) noexcept;
  /// Whether every scale, or every value of a float type, is a finite number. Null for types that
  /// can only be copied.
  bool (*valid)(const void* blocks, std::size_t n_values) noexcept;

  bool has_codec() const { return decode != nullptr; }
  bool in_gguf() const { return gguf_id != kNotInGguf; }
  double bits_per_value() const { return 8 * static_cast<double>(bytes) / values; }
  /// Bytes of `n_values` (a multiple of `values`) stored values.
  std::size_t row_bytes(std::size_t n_values) const {
    return n_values / static_cast<std::size_t>(values) * bytes;
  }
};

/// Traits of `type`. Never fails: the table has a row for every DType.
const DTypeTraits& traits(DType type) noexcept;

/// By number in GGUF files.
std::optional<DType> dtype_of_gguf(std::uint32_t gguf_id) noexcept;
/// By name; case does not matter.
std::optional<DType> dtype_named(std::string_view name) noexcept;

/// Calls visit(type, traits) for every type with a codec.
template <class Visit>
void for_each_dtype(const Visit& visit) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (const auto type = static_cast<DType>(i); traits(type).has_codec())
      visit(type, traits(type));
}

}  // namespace lq
