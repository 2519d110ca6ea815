#pragma once
// One matrix of a checkpoint stored as a scheme says: which tensors it becomes, and their bytes.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "lib/jobs/weight_method.h"
#include "lib/jobs/weight_scheme.h"

namespace lq {

/// A matrix [rows][cols] as the checkpoint has it: F32, F16 or BF16.
struct Linear {
  std::string module;  ///< "model.layers.0.self_attn.q_proj"
  std::uint64_t rows = 0, cols = 0;
  DType type = DType::BF16;
  bool fused = false;  ///< engines run it as one with others

  // What encode() has to know of all values: LinearEncoder::measures().
  float largest = 0;     ///< magnitude, for NVFP4 also of those that are fused with it
  float mean_scale = 0;  ///< mean of the largest magnitudes of blocks
};

/// A tensor that a matrix becomes, named "MODULE.SUFFIX".
struct LinearPart {
  std::string suffix;   ///< "weight_packed", "weight.absmax"
  const char* storage;  ///< safetensors' name: "I32"
  std::vector<std::uint64_t> shape;
  std::uint64_t bytes;
  std::uint64_t made_bytes;  ///< memory that encode() wants for it: `bytes` or more
};

/// The bytes of a matrix's parts.
using LinearBytes = std::vector<std::vector<std::byte>>;

/// Rows that are encoded together: whole words of packed zero points, whole blocks.
inline constexpr std::uint64_t kLinearChunk = 128;

/// What is to be known of a whole matrix before it is encoded.
enum class Measure { nothing, largest, mean_scale };

/// Encodes matrices of one scheme. Stateless: rows may come in any order and from several threads.
class LinearEncoder {
 public:
  LinearEncoder(const WeightScheme& scheme, const kernels::KernelTable& kernels);

  /// Why the scheme cannot hold this matrix; empty when it can.
  std::string refuses(const Linear& linear) const;
  std::vector<LinearPart> parts(const Linear& linear) const;
  Measure measures() const;
  /// Memory for all parts: `made_bytes` of each.
  LinearBytes allocate(const Linear& linear) const;
  /// Encodes rows [first, first + values.size() / cols), given as binary32, into the parts' memory;
  /// `first` is a multiple of kLinearChunk, and so is the number of rows but for the last ones.
  /// Values are finite. Returns digest_of() the integers that were meant, 0 for other numbers.
  /// Throws Error(input) for scales that cannot be held.
  std::uint64_t encode(const Linear& linear, std::uint64_t first, std::span<const float> values,
                       LinearBytes& parts) const;
  /// After all rows: what only all of them give. Memory has the parts' sizes then.
  void finish(const Linear& linear, LinearBytes& parts) const;

 private:
  std::uint64_t encode_integers(const Linear& linear, std::uint64_t first,
                                std::span<const float> values, LinearBytes& parts) const;

  const WeightScheme& scheme_;
  const kernels::KernelTable& kernels_;
  const WeightMethod& method_;
};

}  // namespace lq
