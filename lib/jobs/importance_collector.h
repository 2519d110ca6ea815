#pragma once
// Adds up the squares of what a model's matrices are multiplied with.
#include <unordered_map>

#include "lib/infer/decoder.h"
#include "lib/jobs/importance.h"

namespace lq {

/// Collects the matrices of the layers, and the output's on demand (not one that is the token
/// embedding, too). Tokens count when take() is called: until then they can be dropped, so that
/// whole chunks are collected or nothing of them.
class ImportanceCollector : public MatmulObserver {
 public:
  /// `weights` and `backend` outlive this. `threads`: of the additions.
  ImportanceCollector(const Weights& weights, Backend& backend, int threads, bool with_output);

  void on_matmul(const WeightView& weight, View input,
                 std::span<const std::int32_t> experts) override;
  /// Declares how many experts a stacked weight has: there is an entry for each of them, also of
  /// those that no token reaches.
  void expect_experts(const WeightView& weight, int n_experts);
  /// Adds what was seen since the last take() or drop() to `matrix`. Sums grow in the order of the
  /// calls: how often the work is interrupted and taken up again does not change them. Throws
  /// Error(input) when a sum is not finite.
  void take(ImportanceMatrix& matrix);
  void drop();

 private:
  /// The entry of a weight; null when it is not collected.
  ImportanceEntry* entry_of(const WeightView& weight, int columns);
  std::span<const float> on_host(View input);

  const Weights& weights_;
  Backend& backend_;
  int threads_;
  bool with_output_;
  std::unordered_map<const std::byte*, ImportanceEntry> seen_;  ///< by the weight's place
  std::vector<float> host_;
};

}  // namespace lq
