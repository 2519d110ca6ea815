#pragma once
// A pass over the pieces of a checkpoint plan, on several threads: measuring, writing, verifying.
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "lib/base/monitor.h"
#include "lib/jobs/checkpoint.h"

namespace lq {

/// Bytes of a copied tensor that are a piece: half of a small second cache.
inline constexpr std::uint64_t kCopyBytes = 256 << 10;

/// Rows that are encoded at a time: so few that what is made of them stays in the caches, a
/// multiple of `together`.
std::uint64_t slice_rows(std::uint64_t cols, std::uint64_t together);

/// Rows [first, last) of a quantized module, or bytes of a copied one.
struct CheckpointPiece {
  std::size_t module;
  std::size_t number;  ///< among the pieces of the module
  std::uint64_t first, last;
};

/// What a thread works in; kept from piece to piece.
struct PieceMemory {
  std::vector<std::byte> stored, halves;
  std::vector<float> values;
  LinearBytes parts;
  EncoderMemory encoder;
};

class CheckpointPass {
 public:
  CheckpointPass(const CheckpointPlan& plan, int threads, Monitor& monitor);

  /// Does the work for every piece, modules in their order; on any thread. Shown as `what`.
  void run(const char* what, const std::function<void(const CheckpointPiece&, PieceMemory&)>& work);
  /// The rows of a piece as binary32, which are finite. Throws Error(input) that names one that is
  /// not. The result is valid until the memory is used again.
  std::span<const float> values_of(const CheckpointPiece& piece, PieceMemory& memory) const;
  /// Calls work(part) for the piece's rows, slice_rows() at a time.
  void for_each_slice(const CheckpointPiece& piece, std::uint64_t together,
                      const std::function<void(const CheckpointPiece&)>& work) const;
  /// The bytes of a piece of a copied module, likewise.
  std::span<const std::byte> bytes_of(const CheckpointPiece& piece, PieceMemory& memory) const;

  /// Serializes what threads do to a module together.
  std::mutex& mutex() { return mutex_; }

 private:
  std::unique_ptr<PieceMemory> take_memory();

  const CheckpointPlan& plan_;
  const int threads_;
  Monitor& monitor_;
  const kernels::KernelTable& kernels_;
  std::vector<CheckpointPiece> pieces_;
  std::mutex mutex_;
  std::mutex memory_mutex_;
  std::vector<std::unique_ptr<PieceMemory>> free_;
};

/// Makes memory.halves of a copied tensor's bytes: binary16. Throws Error(input) for values that it
/// cannot hold; `name` is the tensor's.
void as_half(DType type, std::span<const std::byte> bytes, const std::string& name,
             PieceMemory& memory);

std::size_t count_pieces(const CheckpointPlan& plan, std::size_t module);

/// The bytes that a piece becomes in part `part` of its module; a copied one has one part.
LinearPart::Range range_of_piece(const CheckpointPlan& plan, const CheckpointPiece& piece,
                                 std::size_t part);

}  // namespace lq
