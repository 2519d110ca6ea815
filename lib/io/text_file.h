#pragma once
// Small text and JSON files: read at once, `-` is the standard stream, `.zst` is transparent.
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "lib/io/atomic_file.h"

namespace lq {

/// The whole content. `-` reads standard input. Throws Error(file) when it cannot be read,
/// Error(input) when it has more than `limit` bytes (after expansion).
std::string read_text(const std::filesystem::path& path, std::size_t limit = std::size_t{1} << 30);

/// Writes the whole content, atomically; compressed when the name ends in `.zst`; `-` is standard
/// output.
void write_text(const std::filesystem::path& path, std::string_view text, Existing existing);

}  // namespace lq
