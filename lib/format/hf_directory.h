#pragma once
// A Hugging Face model folder: safetensors shards with configuration and tokenizer beside them.
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/format/safetensors.h"

namespace lq {

/// All shards of a folder as one source: files sorted by name, tensors sorted by name inside a
/// file. Throws Error(input) when the shards do not hold exactly what the index lists, and
/// Error(unsupported) for a folder without safetensors files.
class HfDirectory : public SafetensorsReader {
 public:
  explicit HfDirectory(const std::filesystem::path& directory);

  /// Whether a path is to be read by this class (sources.def): every folder.
  static bool accepts(const SourceProbe& probe) { return probe.is_directory; }

  const std::filesystem::path& directory() const { return directory_; }
  /// The path of a file in the folder ("config.json", "tokenizer.json", "tokenizer.model", ...) if
  /// it is there.
  std::optional<std::filesystem::path> find_file(std::string_view file_name) const;
  /// The same; Error(file) when it is not there.
  std::filesystem::path file(std::string_view file_name) const;

 private:
  void check_index(const std::filesystem::path& index) const;

  std::filesystem::path directory_;
};

}  // namespace lq
