#pragma once
// Numbers of the GGUF format that reader and writer share.
#include <bit>
#include <cstdint>
#include <optional>
#include <variant>

#include "lib/format/metadata.h"

namespace lq {

inline constexpr char kGgufAlignmentKey[] = "general.alignment";
inline constexpr std::uint64_t kGgufAlignment = 32;  ///< without that key
inline constexpr std::size_t kGgufMaxName = 63;      ///< bytes of a tensor's name
inline constexpr std::size_t kGgufMaxDims = 4;

/// The alignment that a value of general.alignment stands for; nothing when it is not valid.
inline std::optional<std::uint64_t> gguf_alignment(const Value& value) {
  const auto* number = std::get_if<std::int64_t>(&value.data);
  if (value.type != ValueType::u32 || !number) return std::nullopt;
  const auto alignment = static_cast<std::uint64_t>(*number);
  if (!std::has_single_bit(alignment)) return std::nullopt;
  return alignment;
}

}  // namespace lq
