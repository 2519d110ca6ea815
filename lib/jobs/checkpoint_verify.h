#pragma once
// Whether a written checkpoint, read back, holds what was meant.
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "lib/jobs/checkpoint_pass.h"

namespace lq {

/// A number for bytes that come block by block.
class BlockDigest {
 public:
  static constexpr std::size_t kBlockBytes = 256 << 10;

  /// Blocks have kBlockBytes but for the last ones of a part.
  void add_block(std::span<const std::byte> block);
  void add(std::span<const std::byte> part);
  std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0;
};

/// What was written, a number for each piece: of the bytes that it becomes in all parts.
class CheckpointDigests {
 public:
  explicit CheckpointDigests(const CheckpointPlan& plan);

  /// Threads may put different pieces at once.
  void put(const CheckpointPiece& piece, std::uint64_t digest) {
    of_[piece.module][piece.number] = digest;
  }
  std::uint64_t of(const CheckpointPiece& piece) const { return of_[piece.module][piece.number]; }
  /// One number for all pieces of a module.
  std::uint64_t of_module(std::size_t module) const;

 private:
  std::vector<std::vector<std::uint64_t>> of_;  ///< [module][piece]
};

/// Reads the checkpoint in `folder` as any reader would and compares names, types, shapes and all
/// bytes with what was written. Throws Error(check) that names the tensor.
void verify_checkpoint(const CheckpointPlan& plan, const std::filesystem::path& folder,
                       const CheckpointDigests& digests, int threads, Monitor& monitor);

}  // namespace lq
