#pragma once
// How much the columns of a model's matrices matter: squares of what the matrices are multiplied
// with, added up over a text. Files are those of the reference's calibration tool.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lib/io/atomic_file.h"

namespace lq {

/// What one tensor was multiplied with.
struct ImportanceEntry {
  std::vector<float> sums;           ///< [matrices][columns], of squares, over tokens
  std::vector<std::int64_t> counts;  ///< tokens of each matrix: one count, or one an expert

  std::size_t columns() const { return sums.size() / counts.size(); }
  std::int64_t most_tokens() const;
};

struct ImportanceMatrix {
  std::string name;                                ///< of the file, for messages
  std::map<std::string, ImportanceEntry> entries;  ///< by the tensor's name
  std::vector<std::string> datasets;               ///< texts, in the order of their use
  int chunk_count = 0;                             ///< 0: not known
  int chunk_size = 0;                              ///< tokens; 0: not known
  /// From a .dat file: sums are means times counts, and counts are chunks; of experts the numbers
  /// of tokens are not known.
  bool legacy = false;
};

/// Tokens of a chunk when nothing says otherwise.
inline constexpr int kDefaultChunkSize = 512;

/// Whether a path is an importance matrix, by its content; false also for what cannot be opened.
bool is_importance_file(const std::filesystem::path& path);

/// Reads GGUF and .dat, told apart by their content. Sums may be anything; see check_importance().
/// Throws Error(file), Error(input) that names the file and the entry or the offset.
ImportanceMatrix read_importance(const std::filesystem::path& path);
/// The same from bytes; `name` is for messages.
ImportanceMatrix parse_importance(std::span<const std::byte> bytes, const std::string& name);

/// Throws Error(input) that names the file, the entry and the column of a sum that is negative or
/// not a finite number.
void check_importance(const std::string& file, const std::string& name,
                      const ImportanceEntry& entry);

/// Writes GGUF, or the .dat form when the name ends in .dat (entries without a token are left out,
/// then, and an expert without one gets 1 everywhere). chunk_size has to be known. Throws
/// Error(file), Error(unsupported) for names that the form cannot hold.
void write_importance(const ImportanceMatrix& matrix, const std::filesystem::path& path,
                      Existing existing);

/// Adds the tokens of `from` to `to`, which is not legacy, and its texts behind those of `to`. The
/// chunks of a legacy `from` are taken to be of to.chunk_size tokens. Throws Error(input) when an
/// entry of both has another size or another number of experts.
void merge_importance(ImportanceMatrix& to, const ImportanceMatrix& from);

}  // namespace lq
