#include "lib/infer/kv_cache.h"

#include "lib/base/bytes.h"
#include "lib/base/error.h"

namespace lq {
namespace {

std::size_t pool_bytes(DType type, int n_pages, int n_kv_heads, int dim) {
  const DTypeTraits& facts = traits(type);
  if (dim % facts.values != 0)
    fail(ErrorKind::unsupported, "a cache of type ", cache_type_name(type), " stores ",
         facts.values, " values of a head together; this model's heads have ", dim,
         "; choose another type for the cache");
  const auto position = checked_multiply(static_cast<std::uint64_t>(n_kv_heads),
                                         facts.row_bytes(static_cast<std::size_t>(dim)));
  const auto all =
      position
          ? checked_multiply(*position, static_cast<std::uint64_t>(n_pages) * KvCache::kPageTokens)
          : position;
  if (!all) fail(ErrorKind::resource, "the context does not fit in memory; ask for a smaller one");
  return *all;
}

}  // namespace

KvCache::KvCache(Backend& backend, const HParams& hparams, int capacity, DType type)
    : n_pages_(
          static_cast<int>((static_cast<std::int64_t>(capacity) + kPageTokens - 1) / kPageTokens)),
      type_(type) {
  for (int i = 0; i < hparams.n_layers; ++i)
    layers_.push_back(
        {backend.allocate(pool_bytes(type, n_pages_, hparams.n_kv_heads, hparams.head_dim)),
         backend.allocate(pool_bytes(type, n_pages_, hparams.n_kv_heads, hparams.value_dim))});
  for (int page = n_pages_; page-- > 0;) free_pages_.push_back(page);
}

std::uint64_t KvCache::bytes() const {
  std::uint64_t sum = 0;
  for (const Layer& layer : layers_) sum += layer.keys->size() + layer.values->size();
  return sum;
}

bool KvSequence::reserve(int n) {
  const std::size_t needed =
      (static_cast<std::size_t>(length_) + static_cast<std::size_t>(n) + KvCache::kPageTokens - 1) /
      KvCache::kPageTokens;
  if (needed > pages_.size() + cache_->free_pages_.size()) return false;
  while (pages_.size() < needed) {
    pages_.push_back(cache_->free_pages_.back());
    cache_->free_pages_.pop_back();
  }
  return true;
}

void KvSequence::truncate(int length) {
  length_ = length;
  const auto needed =
      static_cast<std::size_t>((length + KvCache::kPageTokens - 1) / KvCache::kPageTokens);
  while (pages_.size() > needed) {
    cache_->free_pages_.push_back(pages_.back());
    pages_.pop_back();
  }
}

CacheView KvSequence::view(int layer) const {
  const KvCache::Layer& pools = cache_->layers_[static_cast<std::size_t>(layer)];
  return {.keys = pools.keys->data(),
          .values = pools.values->data(),
          .pages = pages_,
          .page_tokens = KvCache::kPageTokens,
          .type = cache_->type_};
}

}  // namespace lq
