#pragma once
// Numbers of the GGUF format that reader and writer share.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "lib/base/error.h"
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

/// The alignment of a file with these metadata. Throws Error(input) when the key's value is none.
inline std::uint64_t gguf_alignment(const Metadata& metadata) {
  const Value* value = metadata.find(kGgufAlignmentKey);
  if (!value) return kGgufAlignment;
  if (const auto alignment = gguf_alignment(*value)) return *alignment;
  fail(ErrorKind::input, metadata.file_name(), ": key '", kGgufAlignmentKey,
       "' is not a power of two of type u32");
}

inline constexpr char kQuantizationVersionKey[] = "general.quantization_version";
inline constexpr std::uint32_t kQuantizationVersion = 2;

// A model in several files: these keys are in each of them, the others only in the first.
inline constexpr char kGgufPartKey[] = "split.no";                    ///< u16, from 0
inline constexpr char kGgufPartCountKey[] = "split.count";            ///< u16
inline constexpr char kGgufPartTensorsKey[] = "split.tensors.count";  ///< i32, of all files

/// "-00002-of-00005": what comes before the ending in the name of part `index`, from 0.
inline std::string gguf_part_mark(std::uint64_t index, std::uint64_t count) {
  const auto digits = [](std::uint64_t n) {
    const std::string text = std::to_string(n);
    return std::string(5 - std::min<std::size_t>(5, text.size()), '0') + text;
  };
  return "-" + digits(index + 1) + "-of-" + digits(count);
}

}  // namespace lq
