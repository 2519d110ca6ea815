#pragma once
// Models made for one purpose: that every rule for quantizing a file, and every type with and
// without importance, meets a tensor. Tiny, and always the same bytes, so that digests of what
// another program makes of them can be kept.
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "lib/jobs/importance.h"

namespace lq::test {

struct MadeModel {
  std::string_view name;
  DType type;  ///< of the matrices
  int layers, width, inner, heads, kv_heads;
  int experts = 0;
  bool tied = false;  ///< the token embedding is the output, too
};

/// Grouped attention; one matrix for embedding and output, and enough layers for rules about a
/// sixteenth of them; eight and four experts; rows that many types cannot hold.
std::span<const MadeModel> made_models();

/// The GGUF file.
std::vector<std::byte> made_file(const MadeModel& model);

/// Importance of all matrices in the layers: columns from never used to much used, an expert
/// without a token.
ImportanceMatrix made_importance(const MadeModel& model);

}  // namespace lq::test
