#pragma once
// Keys and values so far: a pool of fixed-size pages that sequences borrow from.
#include <cstdint>
#include <memory>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/model/hparams.h"

namespace lq {

/// The pages of all layers. A page holds kPageTokens positions of every layer; page p of layer l is
/// at [p][n_kv_heads][kPageTokens][head_dim], stored, in that layer's two pools.
class KvCache {
 public:
  /// A head's keys of a page lie in a row: runs of 8 KB are read at half the speed of 32 KB.
  static constexpr int kPageTokens = 256;

  /// Room for `capacity` positions in one of cache_types(). Throws Error(unsupported) when heads
  /// are not whole blocks of the type, Error(resource).
  KvCache(Backend& backend, const HParams& hparams, int capacity, DType type);

  int capacity() const { return n_pages_ * kPageTokens; }
  std::uint64_t bytes() const;
  /// What one position takes, in all layers: a generated token reads that of every one before.
  std::uint64_t bytes_per_position() const {
    return bytes() / static_cast<std::uint64_t>(capacity());
  }

 private:
  friend class KvSequence;
  struct Layer {
    std::unique_ptr<Buffer> keys, values;
  };
  std::vector<Layer> layers_;
  std::vector<std::int32_t> free_pages_;
  int n_pages_ = 0;
  DType type_;
};

/// One text's part of the cache. Outlived by the cache.
class KvSequence {
 public:
  explicit KvSequence(KvCache& cache) : cache_(&cache) {}
  ~KvSequence() { truncate(0); }
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;

  int length() const { return length_; }  ///< positions filled
  /// Takes pages for `n` further positions; false, with nothing taken, when the cache is full.
  bool reserve(int n);
  /// Declares `n` reserved positions filled.
  void advance(int n) { length_ += n; }
  /// Forgets all positions from `length` on and gives whole pages back.
  void truncate(int length);
  CacheView view(int layer) const;

 private:
  KvCache* cache_;
  std::vector<std::int32_t> pages_;
  int length_ = 0;
};

}  // namespace lq
