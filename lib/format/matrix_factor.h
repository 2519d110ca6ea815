#pragma once
// Factors of whole matrices in GGUF files, which NVFP4 needs: a tensor NAME.scale beside
// NAME.weight, and NAME.input_scale for engines that round what it is multiplied with.
#include <string_view>

#include "lib/format/tensor_source.h"

namespace lq {

/// Whether tensor `name` is a factor of a matrix that is there, or of its input.
bool is_matrix_factor(const TensorSource& source, std::string_view name);

/// What the values of matrix `name` have to be multiplied with; 1 when nothing says it. Throws
/// Error(input) when it is not one finite F32.
float factor_of_matrix(const TensorSource& source, std::string_view name);

}  // namespace lq
