#pragma once
// An importance matrix put to use: which tensor gets which weights, and what is missing or wrong,
// all of it before anything is written.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/format/metadata.h"
#include "lib/jobs/importance.h"
#include "lib/jobs/recipe.h"

namespace lq {

/// What to do with a tensor whose type needs importance when there is none for it.
enum class OnMissing {
  error,    ///< refuse
  raise,    ///< give it a larger type that does not need importance
  uniform,  ///< encode it with the same weight for all columns
};

struct ImportanceOptions {
  const ImportanceMatrix* matrix = nullptr;  ///< null: there is none
  /// A matrix will be measured: the plan is made as if every tensor had its part of it.
  bool to_be_measured = false;
  std::string file;  ///< stored with the result, at most 127 bytes of it; empty: none
  /// Entries are used whose name holds one of `include` (when there are any), and none of
  /// `exclude`.
  std::vector<std::string> include, exclude;
  OnMissing on_missing = OnMissing::error;
  /// Experts that saw fewer tokens are named in a warning.
  std::int64_t min_expert_tokens = 64;
};

/// The weights of a tensor's columns, [matrices][row length]; null: none.
using ColumnWeights = std::shared_ptr<const std::vector<float>>;

/// Weights are means of squares as the reference computes them, in single precision: sums / tokens,
/// 1 for experts without a token. Beyond the reference: a matrix whose sums are all zero says
/// nothing, so it is taken as not measured, too.
class ImportanceUse {
 public:
  /// Throws Error(usage) when no entry is left, Error(input) for sums that check_importance()
  /// refuses. `options` outlives this.
  explicit ImportanceUse(const ImportanceOptions& options);

  bool any() const { return options_.to_be_measured || !entries_.empty(); }
  /// The weights of each tensor that will be encoded, null for the others. Changes `decisions`
  /// with OnMissing::raise. Throws Error(input) that lists entries of a wrong size,
  /// Error(unsupported) that lists tensors which need importance and have none.
  std::vector<ColumnWeights> assign(const Recipe& recipe, std::span<const TensorInfo> tensors,
                                    std::vector<TypeDecision>& decisions);
  /// Warns of entries that are of none of these tensors: all that the source has.
  void check_names(std::span<const TensorInfo> tensors);
  /// Adds the quantize.imatrix.* keys.
  void describe(Metadata& metadata) const;
  /// What the user should know, a line each.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  /// Experts that hardly saw a token, "3 (5), 7 (0)", and the tensors that it is so for.
  struct RareExperts {
    std::string experts;
    std::vector<std::string> tensors;
  };

  const ImportanceEntry* find(const std::string& name) const;
  /// The entry of a tensor if it has the right size.
  const ImportanceEntry* fitting(const TensorInfo& tensor);
  ColumnWeights weights_of(const TensorInfo& tensor, const ImportanceEntry& entry);
  void note_experts(const std::string& name, const ImportanceEntry& entry);
  bool settle_missing(const Recipe& recipe, const TensorInfo& tensor, TypeDecision& decision,
                      ColumnWeights& weights) const;
  void report();

  const ImportanceOptions& options_;
  std::vector<std::pair<const std::string*, const ImportanceEntry*>> entries_;  ///< by name
  std::vector<std::string> wrong_, refused_, settled_, without_;  ///< tensors, by what befell them
  std::vector<RareExperts> rare_;
  std::vector<std::string> warnings_;
};

}  // namespace lq
