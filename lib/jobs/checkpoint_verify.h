#pragma once
// Whether a written checkpoint, read back, holds what was meant.
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "lib/jobs/checkpoint_pass.h"

namespace lq {

/// A number for each chunk of rows of the matrices that differs when a value differs.
class CheckpointDigests {
 public:
  explicit CheckpointDigests(const CheckpointPlan& plan);

  /// Threads may put different pieces at once.
  void put(const CheckpointPiece& piece, std::span<const float> values);
  /// The values that the parts in memory stand for, of all chunks of a module.
  void put_decoded(const CheckpointPlan& plan, std::size_t module, const LinearBytes& parts);
  bool equal(const CheckpointPiece& piece, std::span<const float> values) const;

 private:
  std::vector<std::vector<std::uint64_t>> of_;  ///< [module][chunk]
};

/// Reads the checkpoint in `folder` as any reader would and compares names, types, shapes, the
/// copied bytes and the values of the matrices, bit by bit. Throws Error(check) that names the
/// tensor.
void verify_checkpoint(const CheckpointPlan& plan, const std::filesystem::path& folder,
                       const CheckpointDigests& digests, int threads, Monitor& monitor);

}  // namespace lq
