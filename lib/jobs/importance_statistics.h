#pragma once
// What an importance matrix says of a model: figures a tensor, for people and for programs.
#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/jobs/importance.h"

namespace lq {

/// Figures of the mean squares of one tensor's inputs, over all columns of all its matrices that
/// saw a token. They are the reference's, computed in binary64.
struct ImportanceStatistics {
  std::string name;
  int layer = -1;                                   ///< -1: of none
  std::size_t matrices = 0;                         ///< more than one: experts
  std::size_t unseen = 0;                           ///< of these, without a token
  std::size_t columns = 0;                          ///< of a matrix
  std::int64_t fewest_tokens = 0, most_tokens = 0;  ///< of a matrix; of legacy files: chunks
  double sum = 0, min = 0, max = 0, mean = 0, deviation = 0;
  double zero_share = 0;       ///< of the columns: exactly zero
  double active_share = 0;     ///< of the columns: more than 1e-5
  double entropy = 0;          ///< bits; log2 of the columns when all are alike
  double evenness = 0;         ///< entropy / log2(columns): 1 when all are alike
  double outlier_share = 0;    ///< of the columns: more than a deviation above the mean
  double previous_cosine = 0;  ///< with the same tensor of the layer before; 0: there is none
};

/// By layer, then by name.
std::vector<ImportanceStatistics> importance_statistics(const ImportanceMatrix& matrix);

/// lq.convert.inspect/1 of an importance matrix, without its envelope: path, format, chunk_count,
/// chunk_size, datasets, tensors (the figures, and `tokens` of each expert), layers (means over the
/// tensors of a layer, weighted by their columns). Numbers that are not finite become null. Throws
/// as read_importance() does.
OrderedJson importance_json(const std::filesystem::path& path);
/// The same facts as text.
std::string importance_text(const std::filesystem::path& path);

}  // namespace lq
