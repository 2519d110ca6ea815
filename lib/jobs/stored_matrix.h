#pragma once
// A quantized matrix of a Hugging Face folder: where its parts lie, and its rows as a storage type.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/format/safetensors.h"
#include "lib/jobs/linear_encoder.h"
#include "lib/jobs/stored_scheme.h"

namespace lq {

/// What NVFP4 becomes: values over the checkpoint's divisor, or GGUF's type, whose values have to
/// be multiplied with tensor_scale.
enum class Nvfp4As { with_divisor, gguf };

/// Tensors of a module by what follows its name: "weight_packed".
using StoredParts = std::map<std::string, std::size_t, std::less<>>;

/// Refers to the folder's memory.
struct StoredMatrix {
  std::string file, module;  ///< for messages
  WeightScheme scheme = {};
  Linear linear = {};       ///< its type is that of the scales
  DType type = DType::F32;  ///< what rows are made as: the type that holds the values exactly
  /// Rows are made in multiples of this, but for the last ones.
  std::uint64_t row_step = 1;
  ActivationRounding activations = {};
  std::string other_activations = {};  ///< what the checkpoint wants where those cannot say it

  std::vector<std::span<const std::byte>> parts = {};
  std::vector<std::string> part_names = {};       ///< of the tensors, for messages
  std::uint64_t scale_rows = 0, scale_cols = 0;   ///< E4M3: how many share a scale
  std::vector<std::uint32_t> column_groups = {};  ///< of each column; empty: in order
  std::vector<float> column_factors = {};         ///< columns are multiplied; empty: with 1
  float divisor = 1;                              ///< NVFP4
  float tensor_scale = 1, input_scale = 1;        ///< NVFP4: factors of the whole matrix
  std::uint64_t block = 0, nested_block = 0;      ///< bitsandbytes: values and scales a block
  float nested_offset = 0;

  /// Makes rows [first, first + n), n * row_bytes of `type`; `first` is a multiple of row_step, and
  /// so is n unless the rows are the last. Throws Error(input) for scales and codes that are no
  /// numbers.
  void make_rows(std::uint64_t first, std::uint64_t n, std::byte* out) const;
  TensorInfo info() const { return {module + ".weight", type, {linear.cols, linear.rows}}; }
};

/// Finds the parts and checks storage and shape of each. Throws Error(input | unsupported) that
/// names file and tensor.
StoredMatrix find_matrix(const SafetensorsReader& folder, const std::string& module,
                         const StoredScheme& stored, const StoredParts& parts, Nvfp4As nvfp4);

/// The file of a tensor, for messages.
std::string file_name_of(const SafetensorsReader& folder, std::size_t tensor);

}  // namespace lq
