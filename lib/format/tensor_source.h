#pragma once
// An opened model, whatever its file format.
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kernels/blocks/activation_scheme.h"
#include "lib/format/metadata.h"
#include "lib/format/tensor.h"

namespace lq {

/// Tensors and metadata of a model. Tensor data stays in the file mapping until it is read.
/// Thread-safe after construction.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const std::string& name() const = 0;   ///< path, for messages
  virtual std::string_view format() const = 0;   ///< "GGUF 3", "safetensors"
  virtual const Metadata& metadata() const = 0;  ///< GGUF's keys; empty for Hugging Face folders
  virtual const std::vector<TensorInfo>& tensors() const = 0;  ///< in file order
  /// Bytes of tensor `index`, exactly tensors()[index].bytes() long; they stay at least until
  /// release().
  virtual std::span<const std::byte> data(std::size_t index) const = 0;
  /// Copies bytes [offset, offset + into.size()) of tensor `index`, which do not become resident.
  /// Throws Error(file).
  virtual void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const;
  /// Rows that are made together when they are read, where data() has to be made; 0: it is there.
  virtual std::uint64_t rows_made(std::size_t /*index*/) const { return 0; }
  /// Tells that data(index) is not needed for now (keeps resident memory small).
  virtual void release(std::size_t index) const = 0;
  /// How the checkpoint wants what tensor `index` is multiplied with to be rounded.
  virtual ActivationRounding activations(std::size_t /*index*/) const { return {}; }
  /// Roundings that the checkpoint wants and activations() does not know, for people; each once.
  virtual std::vector<std::string> unknown_roundings() const { return {}; }
  /// Files that this source reads.
  virtual std::vector<std::filesystem::path> files() const = 0;
  /// Index into files() of the one that holds tensor `index`.
  virtual std::size_t file_index(std::size_t /*index*/) const { return 0; }

  std::optional<std::size_t> find(std::string_view tensor_name) const;

 protected:
  /// Called once by constructors: makes find() fast. Throws Error(input) when a name appears twice.
  void index_tensors(const std::vector<TensorInfo>& tensors);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> index_;
};

/// What is known of a path before it is opened as a model.
struct SourceProbe {
  const std::filesystem::path& path;
  bool is_directory;
  std::string_view head;  ///< first bytes of a file
};

/// Opens a model by its content: a row of sources.def for each format. Throws Error(file | input |
/// unsupported).
std::unique_ptr<TensorSource> open_source(const std::filesystem::path& path);

}  // namespace lq
