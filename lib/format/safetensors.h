#pragma once
// Reads safetensors files: a JSON header, then the tensors' bytes.
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/format/tensor_source.h"
#include "lib/io/mapped_file.h"

namespace lq {

/// A tensor of a safetensors file.
struct SafetensorsTensor {
  /// Shape reversed: contiguous dimension first. Where `foreign`, the type is I8 and says nothing.
  TensorInfo info;
  const char* stored = "";          ///< storage name in the file, e.g. "BF16", "F8_E4M3"
  bool foreign = false;             ///< the storage name has no DType
  std::span<const std::byte> data;  ///< part of the bytes given
};

/// Parses a whole file: tensors sorted by name. Reads the header only. Throws Error(input) when the
/// header is damaged, when tensors overlap, leave gaps or do not fit their shape, and
/// Error(unsupported) for a storage name that is not in safetensors_types.def.
std::vector<SafetensorsTensor> parse_safetensors(std::span<const std::byte> bytes,
                                                 const std::string& name);

/// One safetensors file, or several read as one (HfDirectory).
class SafetensorsReader : public TensorSource {
 public:
  explicit SafetensorsReader(const std::filesystem::path& path);
  /// Reads bytes that outlive the reader.
  SafetensorsReader(std::span<const std::byte> bytes, std::string name);

  /// Whether a path is to be read by this class (sources.def).
  static bool accepts(const SourceProbe& probe);

  const std::string& name() const override { return name_; }
  std::string_view format() const override { return "safetensors"; }
  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  /// Throws Error(unsupported) that names the storage if it has no DType: see raw_data().
  std::span<const std::byte> data(std::size_t index) const override;
  void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const override;
  void release(std::size_t index) const override;
  std::vector<std::filesystem::path> files() const override { return paths_; }
  std::size_t file_index(std::size_t index) const override { return details_[index].file; }

  /// The storage name in the file: "F32", "F8_E4M3", "U8", ...
  std::string_view stored_as(std::size_t index) const { return details_[index].stored; }
  /// Whether that storage has no DType, so that only raw_data() can read it.
  bool is_foreign(std::size_t index) const { return details_[index].foreign; }
  /// The stored bytes, whatever they mean.
  std::span<const std::byte> raw_data(std::size_t index) const { return details_[index].data; }
  /// The file that holds the tensor.
  const std::filesystem::path& file_of(std::size_t index) const {
    return paths_[details_[index].file];
  }

 protected:
  struct Detail {
    const char* stored;
    bool foreign;
    std::span<const std::byte> data;
    std::size_t file;  ///< index into files_ and paths_
  };

  /// An empty source; add_file() fills it.
  explicit SafetensorsReader(std::string name) : name_(std::move(name)) {}
  void add_file(const std::filesystem::path& path);

  std::string name_;
  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::vector<Detail> details_;  ///< of each tensor
  std::vector<MappedFile> files_;
  std::vector<std::filesystem::path> paths_;

 private:
  void add(std::span<const std::byte> bytes, const std::string& name);
};

}  // namespace lq
