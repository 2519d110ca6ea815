#pragma once
// How a checkpoint's matrices are stored for engines on GPUs: in which numbers, and in the layout
// of which package.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/blocks/activation_scheme.h"
#include "kernels/blocks/dtype.h"

namespace lq {

enum class WeightNumber { integer, e4m3, e5m2, nvfp4, mxfp4, mxfp8, bnb_nf4, bnb_fp4, bnb_int8 };
enum class ScalesOf { tensor, channel, group, block };
enum class InputScales { dynamic, measured };
enum class ScaleType { model, f16, f32 };
enum class OtherTensors { kept, f16 };

enum class WeightLayout {
#define LQ_LAYOUT(name, bits, symmetric, zeros, scales, others, what) name,
#include "lib/jobs/weight_layouts.def"
#undef LQ_LAYOUT
};

/// A row of weight_layouts.def.
struct LayoutTraits {
  std::string name;  ///< on the command line
  std::string_view bits;
  bool symmetric, zero_points;
  ScaleType scales;
  OtherTensors others;
  const char* what;
};
const LayoutTraits& traits(WeightLayout layout);
std::span<const LayoutTraits> weight_layouts();

/// A row of weight_schemes.def, or one with other settings.
struct WeightScheme {
  std::string name;
  std::string format;  ///< what compressed-tensors calls its layout, or "bitsandbytes"
  WeightNumber number = WeightNumber::integer;
  int bits = 4;
  ScalesOf scales = ScalesOf::group;
  int group_size = 0;  ///< columns; 0 with scales of tensors and channels
  bool symmetric = true;
  ActivationScheme activations = ActivationScheme::none;
  InputScales inputs = InputScales::dynamic;
  WeightLayout layout = WeightLayout::compressed_tensors;
  std::optional<ScaleType> scale_type = std::nullopt;  ///< absent: that of the layout
  bool nested = false;         ///< bitsandbytes: the scales are quantized, too
  std::string method = "rtn";  ///< a row of methods.def

  bool is_float8() const { return number == WeightNumber::e4m3 || number == WeightNumber::e5m2; }
  /// Whether the largest magnitudes of activations have to be known.
  bool measures_inputs() const { return inputs == InputScales::measured; }
  bool is_packed() const { return format == "pack-quantized"; }
  double bits_per_weight() const;  ///< scales included, of a large matrix stored in 16 bits
  /// What scales are stored as for a matrix of this type.
  DType scales_for(DType matrix) const;
};

std::span<const WeightScheme> weight_schemes();
/// By name, case does not matter; null when there is none.
const WeightScheme* find_weight_scheme(std::string_view name);

/// What users choose beside the scheme, as on the command line; empty: what the scheme says.
struct SchemeChoices {
  std::string format;      ///< a layout's name
  std::string group_size;  ///< "32", "channel"
  std::string method;      ///< a row of methods.def
  std::string scale_type;  ///< "f32"
  std::string float8;      ///< "e4m3", "e5m2"
  bool double_quant = false;
};

/// The scheme with these choices. Throws Error(usage) for those that do not go together, and says
/// what does.
WeightScheme with_choices(WeightScheme scheme, const SchemeChoices& choices);

}  // namespace lq
