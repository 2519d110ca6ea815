#pragma once
// A quantized Hugging Face folder as matrices: the tensors of each quantized module are one, of a
// storage type that holds the values exactly.
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lib/format/safetensors.h"
#include "lib/jobs/stored_matrix.h"
#include "lib/jobs/stored_scheme.h"

namespace lq {

/// "MODULE.weight" [out, in] for each quantized module: I4, I8, E4M3, FP4_16 (or NVFP4), MXFP4, NF4
/// and FP4, else F32; other tensors as they are stored. In the order in which the reference
/// converter meets them: NVFP4, then what the folder has with matrices that keep the name
/// "weight" in their places, then packed matrices. Scales of activations and caches are no tensors.
class QuantizedFolder : public TensorSource {
 public:
  /// Throws Error(input | unsupported) that names file and tensor for what does not fit together.
  QuantizedFolder(std::unique_ptr<SafetensorsReader> stored, const StoredSchemes& schemes,
                  Nvfp4As nvfp4);

  const std::string& name() const override { return stored_->name(); }
  std::string_view format() const override { return format_; }
  const Metadata& metadata() const override { return stored_->metadata(); }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  /// Makes the rows of a quantized matrix, which are kept until release().
  std::span<const std::byte> data(std::size_t index) const override;
  /// Makes the rows that are asked for, some at a time.
  void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const override;
  std::uint64_t rows_made(std::size_t index) const override;
  void release(std::size_t index) const override;
  ActivationRounding activations(std::size_t index) const override;
  std::vector<std::string> unknown_roundings() const override;
  std::vector<std::filesystem::path> files() const override { return stored_->files(); }
  std::size_t file_index(std::size_t index) const override;

  /// The tensors as they are stored.
  const SafetensorsReader& stored() const { return *stored_; }
  /// Bytes that read() needs for a while.
  std::uint64_t memory_to_read(std::size_t index) const;
  /// Null for a tensor that is not quantized.
  const StoredMatrix* matrix(std::size_t index) const;

 private:
  struct Entry {
    std::size_t stored;  ///< index of the tensor, or of one of a matrix's parts
    std::optional<StoredMatrix> matrix = std::nullopt;
    std::vector<std::size_t> parts = {};
  };
  void add(Entry entry);
  std::uint64_t rows_at_a_time(std::size_t index) const;

  std::unique_ptr<SafetensorsReader> stored_;
  std::string format_;
  std::vector<TensorInfo> tensors_;
  std::vector<Entry> entries_;  ///< of each tensor
  mutable std::mutex mutex_;
  mutable std::vector<std::vector<std::byte>> made_;  ///< of each tensor; empty: not made
};

}  // namespace lq
