#pragma once
// Writes safetensors files (https://huggingface.co/docs/safetensors): everything is declared first,
// then bytes come at known places, from several threads.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "lib/io/atomic_file.h"

namespace lq {

struct SafetensorsEntry {
  std::string name;
  std::string storage;               ///< "BF16", "I32", ... as in the file
  std::vector<std::uint64_t> shape;  ///< outer dimension first, as in the file
  std::uint64_t bytes;
};

/// The file appears with commit(). Entries lie in the file by size of their values, large ones
/// first (so that all are aligned), then by name, as the format's own library puts them.
class SafetensorsWriter {
 public:
  /// With Leave::partial the file is found again by the next writer. Throws Error(file).
  SafetensorsWriter(const std::filesystem::path& path, std::span<const SafetensorsEntry> entries,
                    Leave leave = Leave::nothing);

  /// Bytes of entry `index` (as given) from `offset` on. Threads may write different bytes at once.
  void write(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes);
  /// What was written of it, by this writer or an earlier one, from `offset` on.
  void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const;
  /// As AtomicFile has it.
  void give_name();
  void commit();

 private:
  std::vector<std::uint64_t> begin_;  ///< place of each entry in the file
  AtomicFile file_;
};

/// Bits of a value of this storage; 0 for an unknown one.
int safetensors_bits(std::string_view storage);

}  // namespace lq
