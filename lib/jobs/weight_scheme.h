#pragma once
// How a checkpoint's matrices are stored for engines on GPUs: as compressed-tensors
// (https://github.com/vllm-project/compressed-tensors, 0.19), bitsandbytes (0.50), or the FP8
// blocks of DeepSeek-V3 (arXiv:2412.19437) say.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "lib/base/json.h"

namespace lq {

enum class WeightNumber { integer, e4m3, nvfp4, mxfp4, mxfp8, bnb_nf4, bnb_fp4, bnb_int8 };
enum class ScalesOf { tensor, channel, group, block };
enum class ActivationScheme { none, int8_token, fp8_tensor, fp8_token, fp8_group, mxfp8_group };

/// A row of weight_schemes.def, or one with another group size or symmetry.
struct WeightScheme {
  std::string name;
  std::string format;
  WeightNumber number = WeightNumber::integer;
  int bits = 4;
  ScalesOf scales = ScalesOf::group;
  int group_size = 0;  ///< columns; 0 with scales of tensors and channels
  bool symmetric = true;
  ActivationScheme activations = ActivationScheme::none;

  bool is_packed() const { return format == "pack-quantized"; }
  double bits_per_weight() const;  ///< scales included, of a large matrix stored in 16 bits
};

std::span<const WeightScheme> weight_schemes();
/// By name, case does not matter; null when there is none.
const WeightScheme* find_weight_scheme(std::string_view name);

/// The `quantization_config` of config.json. `ignored` are modules that stay as they are; `type` is
/// that of the model.
OrderedJson quantization_config(const WeightScheme& scheme, const std::vector<std::string>& ignored,
                                DType type);

/// "bfloat16", as PyTorch calls F32, F16 and BF16.
const char* torch_name(DType type);

}  // namespace lq
