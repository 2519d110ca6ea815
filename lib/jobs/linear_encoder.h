#pragma once
// One matrix of a checkpoint stored as a scheme says: which tensors it becomes, and their bytes.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "lib/jobs/weight_scheme.h"

namespace lq {

/// A matrix [rows][cols] as the checkpoint has it: F32, F16 or BF16.
struct Linear {
  std::string module;  ///< "model.layers.0.self_attn.q_proj"
  std::uint64_t rows = 0, cols = 0;
  DType type = DType::BF16;
};

/// A tensor that a matrix becomes, named "MODULE.SUFFIX".
struct LinearPart {
  std::string suffix;   ///< "weight_packed", "weight.absmax"
  const char* storage;  ///< safetensors' name: "I32"
  std::vector<std::uint64_t> shape;
  std::uint64_t bytes;

  /// Bytes [begin, end) that rows [first, last) of the matrix make. `first` is a multiple of
  /// kLinearChunk, and so is `last` unless it is the number of rows.
  struct Extent {
    std::uint64_t begin, end;
  };
  std::uint64_t chunk_bytes = 0;  ///< of kLinearChunk rows; 0: all of it comes with the first chunk

  Extent extent(std::uint64_t first, std::uint64_t last, std::uint64_t rows) const;
};

/// Rows that are encoded together: whole words of packed zero points, whole blocks.
inline constexpr std::uint64_t kLinearChunk = 128;

/// Encodes chunks of matrices of one scheme. Stateless: any thread, any order.
class LinearEncoder {
 public:
  LinearEncoder(const WeightScheme& scheme, const kernels::KernelTable& kernels)
      : scheme_(scheme), kernels_(kernels) {}

  /// Why the scheme cannot hold this matrix; empty when it can.
  std::string refuses(const Linear& linear) const;
  std::vector<LinearPart> parts(const Linear& linear) const;
  /// Whether encode() needs the largest magnitude of the whole matrix (for NVFP4 also of those that
  /// an engine fuses with it).
  bool needs_largest() const {
    return scheme_.scales == ScalesOf::tensor || scheme_.number == WeightNumber::nvfp4;
  }
  /// Encodes rows [first, first + values.size() / cols), given as binary32; out[i] gets the bytes
  /// of part i's extent. Values are finite.
  void encode(const Linear& linear, std::uint64_t first, std::span<const float> values,
              float largest, std::span<std::byte* const> out) const;

 private:
  const WeightScheme& scheme_;
  const kernels::KernelTable& kernels_;
};

}  // namespace lq
