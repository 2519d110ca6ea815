#pragma once
// zstd compression and expansion piece by piece: memory does not depend on the size of the content.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace lq {

using ByteSink = std::function<void(std::span<const std::byte>)>;
/// Fills the beginning of a piece and says with how many bytes; 0 ends the content.
using ByteFeed = std::function<std::size_t(std::span<std::byte>)>;

/// Whether content starts like a zstd frame.
bool is_zstd(std::span<const std::byte> head);

/// Bytes that `compressed_bytes` may grow to before a file counts as made to fill the disk.
std::uint64_t expansion_limit(std::uint64_t compressed_bytes);

/// Expands zstd content, one or more frames. Throws Error(input) that names the file when the
/// content is damaged.
class ZstdExpander {
 public:
  explicit ZstdExpander(std::string name);
  ~ZstdExpander();
  /// Expands the next piece of content and hands the result on in pieces of at most 128 KiB.
  void feed(std::span<const std::byte> piece, const ByteSink& sink);
  /// Checks that the content was complete.
  void finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Compresses what `feed` gives into one frame with a checksum.
void zstd_compress(const ByteFeed& feed, const ByteSink& sink);

}  // namespace lq
