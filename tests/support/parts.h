#pragma once
// Models made for tests of writing: of one matrix, or in several files.
#include <filesystem>
#include <string>
#include <vector>

#include "lib/format/tensor.h"
#include "tests/support/temp_dir.h"

namespace lq::test {

/// A model with one layer, DIR/model.gguf: `rows` rows of `row_length` random values in its only
/// matrix.
std::string write_matrix_model(const TempDir& dir, std::uint64_t rows, DType type = DType::F32,
                               std::uint64_t row_length = 1024);

/// Writes the tensors of a GGUF file as parts NAME-00001-of-0000N.gguf with so many tensors each,
/// all together as many as there are. Returns the parts.
std::vector<std::filesystem::path> write_parts(const std::filesystem::path& model,
                                               const std::filesystem::path& name,
                                               const std::vector<std::size_t>& counts);

}  // namespace lq::test
