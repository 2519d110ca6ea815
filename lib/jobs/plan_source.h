#pragma once
// A plan carried out in memory: the model that would be written, as a source of tensors.
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lib/format/tensor_source.h"
#include "lib/jobs/convert.h"

namespace lq {

/// Tensors are made when they are asked for, by some threads, and kept until release(). Those that
/// are copied as they are stay where their source has them.
class PlanSource : public TensorSource {
 public:
  /// `name` is for messages, `format` says what was opened.
  PlanSource(Conversion conversion, std::string name, std::string format, int threads);

  const std::string& name() const override { return name_; }
  std::string_view format() const override { return format_; }
  const Metadata& metadata() const override { return conversion_.plan.metadata; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  /// Throws Error(input) for values that are not finite.
  std::span<const std::byte> data(std::size_t index) const override;
  void read(std::size_t index, std::uint64_t offset, std::span<std::byte> into) const override;
  std::uint64_t rows_made(std::size_t index) const override;
  void release(std::size_t index) const override;
  ActivationRounding activations(std::size_t index) const override;
  std::vector<std::string> unknown_roundings() const override {
    return conversion_.source ? conversion_.source->unknown_roundings()
                              : std::vector<std::string>();
  }
  std::vector<std::filesystem::path> files() const override { return conversion_.inputs; }

 private:
  std::vector<std::byte> make(std::size_t index) const;

  Conversion conversion_;
  std::string name_, format_;
  int threads_;
  std::vector<TensorInfo> tensors_;
  mutable std::mutex mutex_;
  mutable std::vector<std::vector<std::byte>> made_;  ///< by tensor; empty: not made
  mutable std::vector<std::byte> spare_;  ///< memory of one that was released, for the next
};

/// Opens what lq-run can run: a GGUF file, or a Hugging Face folder, quantized or not, whose
/// conversion is carried out in memory with the types that it has. Throws Error.
std::unique_ptr<TensorSource> open_runnable(const std::filesystem::path& path, int threads,
                                            Monitor& monitor);

}  // namespace lq
