#pragma once
// A pass over the pieces of a checkpoint plan, on several threads: measuring, writing, verifying.
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "lib/base/monitor.h"
#include "lib/jobs/checkpoint.h"

namespace lq {

/// Rows [first, last) of a quantized module, or bytes of a copied one.
struct CheckpointPiece {
  std::size_t module;
  std::uint64_t first, last;
};

class CheckpointPass {
 public:
  CheckpointPass(const CheckpointPlan& plan, int threads, Monitor& monitor);

  /// Does the work for every piece, modules in their order; on any thread. Shown as `what`.
  void run(const char* what, const std::function<void(const CheckpointPiece&)>& work);
  /// The rows of a piece as binary32, which are finite. Throws Error(input) that names one that is
  /// not.
  std::vector<float> values_of(const CheckpointPiece& piece) const;
  /// The bytes of a piece of a copied module.
  std::vector<std::byte> bytes_of(const CheckpointPiece& piece) const;

  /// Serializes what threads do to a module together.
  std::mutex& mutex() { return mutex_; }

 private:
  std::uint64_t source_bytes(const PlannedModule& module) const {
    return plan_.source->raw_data(module.source_index).size();
  }

  const CheckpointPlan& plan_;
  const int threads_;
  Monitor& monitor_;
  std::vector<CheckpointPiece> pieces_;
  std::mutex mutex_;
};

/// Bytes of a copied tensor in the type that it gets: binary16. Throws Error(input) for values that
/// it cannot hold; `name` is the tensor's.
std::vector<std::byte> as_half(DType type, std::span<const std::byte> bytes,
                               const std::string& name);

/// Where a copied module's bytes [first, ...) go in the new tensor.
std::uint64_t copied_offset(const CheckpointPlan& plan, const CheckpointPiece& piece);

}  // namespace lq
