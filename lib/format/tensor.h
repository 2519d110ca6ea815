#pragma once
// What a tensor is, and a tensor with bytes that someone else owns.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/blocks/dtype.h"

namespace lq {

/// shape[0] is the contiguous dimension (the row length), as in GGUF: a PyTorch [out, in] is {in,
/// out}.
struct TensorInfo {
  std::string name;
  DType type = DType::F32;
  /// GGUF: 1 to 4 dimensions of at least 1. Hugging Face: any number, none for a scalar. bytes()
  /// was checked to fit when read.
  std::vector<std::uint64_t> shape;

  std::uint64_t row_length() const { return shape.empty() ? 1 : shape[0]; }
  /// Product of all dimensions but the first.
  std::uint64_t rows() const;
  std::uint64_t elements() const { return row_length() * rows(); }
  std::uint64_t row_bytes() const { return traits(type).row_bytes(row_length()); }
  std::uint64_t bytes() const { return row_bytes() * rows(); }
};

/// "[2048, 512]" for messages and tables.
std::string shape_text(std::span<const std::uint64_t> shape);

/// `shape` without dimensions of 1 at its end, but at least one dimension, as quantizers write it.
std::vector<std::uint64_t> trimmed_shape(std::span<const std::uint64_t> shape);

/// Layer number of a GGUF name "blk.N. ..."; -1 for other names, also for numbers without measure.
int layer_of(std::string_view name);

}  // namespace lq
