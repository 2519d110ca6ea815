#pragma once
// Writes a GGUF version 3 file: everything is declared first, then data is written in any order.
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/format/metadata.h"
#include "lib/format/tensor.h"
#include "lib/io/atomic_file.h"

namespace lq {

/// The file appears under its name when finish() returns; before that nothing does. Tensor data
/// starts at a multiple of 32 bytes (of general.alignment where metadata has it) and every tensor,
/// also the last, is padded with zeros to one. Keys, values and shapes are written as they are
/// (callers trim shapes). Throws Error(file), or Error(unsupported) for what GGUF cannot hold:
/// names of more than 63 bytes, more than 4 dimensions, rows that are not whole blocks.
class GgufWriter {
 public:
  GgufWriter(const std::filesystem::path& path, const Metadata& metadata,
             std::span<const TensorInfo> tensors, Existing existing, Leave leave = Leave::nothing);

  std::uint64_t total_bytes() const { return total_bytes_; }
  /// Writes bytes of tensor `index` at `offset` within it. Safe from several threads for disjoint
  /// parts. Every byte of every tensor has to be written exactly once.
  void write(std::size_t index, std::uint64_t offset, std::span<const std::byte> bytes);
  /// Bytes that were written there before, by this writer or, with Leave::partial, an earlier one.
  void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const;
  /// Counts bytes that an earlier writer left there as written.
  void keep(std::uint64_t n_bytes) { written_ += n_bytes; }
  void finish();

 private:
  std::vector<std::uint64_t> starts_;  ///< file offset of each tensor
  std::vector<std::uint64_t> sizes_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t data_bytes_ = 0;            ///< of all tensors, without padding
  std::atomic<std::uint64_t> written_ = 0;  ///< of data_bytes_
  std::unique_ptr<AtomicFile> file_;
};

/// What GgufWriter writes before the data of the tensors.
std::string gguf_header(const Metadata& metadata, std::span<const TensorInfo> tensors);

/// The size that GgufWriter would give the file.
std::uint64_t gguf_file_bytes(const Metadata& metadata, std::span<const TensorInfo> tensors);

}  // namespace lq
