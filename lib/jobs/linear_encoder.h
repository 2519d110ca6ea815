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
  float largest = 0;        ///< magnitude, for NVFP4 also of those that are fused with it
  float mean_scale = 0;     ///< mean of the largest magnitudes of blocks
  float largest_input = 0;  ///< magnitude of what it is multiplied with; measures_inputs() alone
};

/// A tensor that a matrix becomes, named "MODULE.SUFFIX".
struct LinearPart {
  std::string suffix;   ///< "weight_packed", "weight.absmax"
  const char* storage;  ///< safetensors' name: "I32"
  std::vector<std::uint64_t> shape;
  std::uint64_t bytes;
  std::uint64_t made_bytes;   ///< memory that encode() wants for it: `bytes` or more
  std::uint64_t chunk_bytes;  ///< what kLinearChunk rows become, one chunk after the other; 0: no
                              ///< such order

  /// `per_chunk`: how far kLinearChunk rows go in the outer dimension; 0: no such order.
  static LinearPart of(std::string suffix, const char* storage, std::uint64_t value_bytes,
                       std::vector<std::uint64_t> shape, std::uint64_t per_chunk = 0);

  struct Range {
    std::uint64_t begin, bytes;
  };
  /// The bytes that come from rows [first, last) of `rows`: whole chunks, the last one may be
  /// smaller. A part without an order comes with the first rows.
  Range range_of(std::uint64_t first, std::uint64_t last, std::uint64_t rows) const;
};

/// The bytes of a matrix's parts.
using LinearBytes = std::vector<std::vector<std::byte>>;

/// Rows that are written together: whole words of packed zero points, whole blocks.
inline constexpr std::uint64_t kLinearChunk = 128;

/// What is to be known of a whole matrix before it is encoded.
enum class Measure { nothing, largest, mean_scale };

/// Memory that encoding needs and that is kept for the next rows.
struct EncoderMemory {
  IntegerRows chosen, stored;
};

/// Encodes matrices of one scheme. Stateless: rows may come in any order and from several threads.
class LinearEncoder {
 public:
  LinearEncoder(const WeightScheme& scheme, const kernels::KernelTable& kernels);

  /// Why the scheme cannot hold this matrix; empty when it can.
  std::string refuses(const Linear& linear) const;
  std::vector<LinearPart> parts(const Linear& linear) const;
  Measure measures() const;
  /// Whether chunks of rows can be written one by one. Otherwise a matrix is complete only after
  /// finish().
  bool by_chunks() const;
  /// Rows that have to be encoded together; divides kLinearChunk.
  std::uint64_t rows_together(const Linear& linear) const;
  /// Memory for all parts: `made_bytes` of each.
  LinearBytes allocate(const Linear& linear) const;
  /// Encodes rows [first, first + values.size() / cols), given as binary32. `first` is a multiple
  /// of rows_together(), and so is the number of rows but for the last ones. Values are finite. The
  /// memory of `parts` begins with row `origin`, a multiple of kLinearChunk: 0 or, where chunks can
  /// be written one by one, the first row of a chunk. What was stored is read again and compared.
  /// Throws Error(input) for scales that cannot be held.
  void encode(const Linear& linear, std::uint64_t first, std::span<const float> values,
              std::uint64_t origin, LinearBytes& parts, EncoderMemory& memory) const;
  /// After all rows: what only all of them give. Memory has the parts' sizes then.
  void finish(const Linear& linear, LinearBytes& parts) const;

 private:
  void encode_integers(const Linear& linear, std::uint64_t first, std::span<const float> values,
                       std::uint64_t origin, LinearBytes& parts, EncoderMemory& memory) const;

  const WeightScheme& scheme_;
  const kernels::KernelTable& kernels_;
  const WeightMethod& method_;
};

}  // namespace lq
