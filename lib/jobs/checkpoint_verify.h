#pragma once
// Whether a written checkpoint, read back, holds what was meant.
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "lib/jobs/checkpoint_pass.h"
#include "lib/jobs/linear_layouts.h"

namespace lq {

/// What was meant, a number for each piece: of integers what the method chose, of other numbers
/// the bytes of all parts, with the first piece of a module.
class CheckpointDigests {
 public:
  explicit CheckpointDigests(const CheckpointPlan& plan);

  /// Threads may put different pieces at once.
  void put(const CheckpointPiece& piece, std::uint64_t digest);
  /// All pieces of a module, from parts that are known to be right.
  void put_module(std::size_t module, PartBytes parts);
  /// Whether the parts, unpacked, hold what was meant.
  bool equal(const CheckpointPiece& piece, PartBytes parts) const;

 private:
  std::uint64_t read(const CheckpointPiece& piece, PartBytes parts) const;

  const CheckpointPlan& plan_;
  std::vector<std::vector<std::uint64_t>> of_;  ///< [module][chunk]
};

/// One number for the bytes of all parts.
std::uint64_t digest_of_parts(PartBytes parts);

/// Reads the checkpoint in `folder` as any reader would and compares names, types, shapes, the
/// copied bytes and what the matrices hold, unpacked, bit by bit. Throws Error(check) that names
/// the tensor.
void verify_checkpoint(const CheckpointPlan& plan, const std::filesystem::path& folder,
                       const CheckpointDigests& digests, int threads, Monitor& monitor);

}  // namespace lq
