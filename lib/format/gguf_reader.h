#pragma once
// Reads GGUF versions 2 and 3, also models that are split into several files.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "lib/format/tensor_source.h"
#include "lib/io/mapped_file.h"

namespace lq {

/// What the header of one GGUF file says, checked: every tensor lies within the file.
struct GgufHeader {
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  Metadata metadata;
  std::vector<TensorInfo> tensors;
  std::vector<std::span<const std::byte>> data;  ///< of each tensor; part of the bytes given
};

/// Parses a whole file. Reads the header only; memory is bounded by a small multiple of its size.
/// Throws Error(input), or Error(unsupported) for versions, byte orders and storage types that are
/// not known; both name the file and the place in it.
GgufHeader parse_gguf(std::span<const std::byte> bytes, const std::string& name);

/// A GGUF model. Of a split model any part may be given; all parts are opened and the first one's
/// metadata, with its split.* keys, is the model's.
class GgufReader : public TensorSource {
 public:
  explicit GgufReader(const std::filesystem::path& path);
  /// Reads bytes that outlive the reader; a part of a split model is then read alone.
  GgufReader(std::span<const std::byte> bytes, std::string name);

  /// Whether a path is to be read by this class (sources.def).
  static bool accepts(const SourceProbe& probe);

  const std::string& name() const override { return name_; }
  std::string_view format() const override { return format_; }
  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> data(std::size_t index) const override { return data_[index]; }
  void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const override;
  void release(std::size_t index) const override;
  std::vector<std::filesystem::path> files() const override { return paths_; }
  std::size_t file_index(std::size_t index) const override {
    return file_of_.empty() ? 0 : file_of_[index];
  }

 private:
  void add(GgufHeader header);
  void open_parts(const std::filesystem::path& path, GgufHeader given, MappedFile given_file);

  std::string name_;
  std::string format_;
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::span<const std::byte>> data_;
  std::vector<std::size_t> file_of_;  ///< of each tensor: index into files_
  std::vector<MappedFile> files_;
  std::vector<std::filesystem::path> paths_;
};

}  // namespace lq
