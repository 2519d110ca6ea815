#pragma once
// A small model with experts, and importance for it.
#include <filesystem>

#include "lib/jobs/importance.h"

namespace lq::test {

inline constexpr int kExperts = 4;

/// Writes a model of the llama family as binary32: two layers, width 256, four experts. Always the
/// same bytes.
void write_expert_model(const std::filesystem::path& path);

/// Importance of all its matrices in the layers but blk.1.attn_k.weight; expert 2 of layer 0 saw no
/// token, expert 3 of layer 1 saw five.
ImportanceMatrix expert_importance();

}  // namespace lq::test
