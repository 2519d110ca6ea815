#pragma once
// Checkpoints of the test data, quantized by us: the same folders that other programs were asked to
// read.
#include <filesystem>
#include <span>
#include <string>

#include "lib/jobs/weight_scheme.h"

namespace lq::test {

/// `name` is the end of the folder's name: "llama3-w4-32".
struct QuantizedCase {
  std::string name;
  const char* scheme;
  SchemeChoices choices = {};
};
std::span<const QuantizedCase> quantized_cases();
const QuantizedCase& quantized_case(std::string_view name);

/// Quantizes a checkpoint into `folder`. Matrices that the scheme cannot hold are Error.
void write_quantized(const std::filesystem::path& checkpoint, const QuantizedCase& how,
                     const std::filesystem::path& folder);

/// A checkpoint with one matrix, model.layers.0.mlp.up_proj.weight of F32, small values.
void write_one_matrix(const std::filesystem::path& folder, std::uint64_t rows, std::uint64_t cols);

}  // namespace lq::test
