#include "lib/infer/kv_cache.h"

#include <doctest/doctest.h>

#include <limits>
#include <set>

#include "tests/support/errors.h"

namespace {

using namespace lq;
using test::holds;

constexpr int kPage = KvCache::kPageTokens;

HParams two_layers() {
  HParams h;
  h.n_layers = 2;
  h.n_kv_heads = 3;
  h.head_dim = 16;
  h.value_dim = 8;
  return h;
}

struct CacheFixture {
  std::unique_ptr<Backend> backend = make_cpu_backend(1);
  KvCache cache;
  explicit CacheFixture(int capacity, DType type = DType::F16)
      : cache(*backend, two_layers(), capacity, type) {}
};

}  // namespace

TEST_CASE("kv cache: whole pages of every layer") {
  CHECK(CacheFixture(1).cache.capacity() == kPage);
  CHECK(CacheFixture(kPage).cache.capacity() == kPage);
  const CacheFixture f(kPage + 1);
  CHECK(f.cache.capacity() == 2 * kPage);
  CHECK(f.cache.bytes() == std::uint64_t{2 * kPage * 2 * 3 * (16 + 8) * 2});
  CHECK(CacheFixture(kPage + 1, DType::F32).cache.bytes() == 2 * f.cache.bytes());
}

TEST_CASE("kv cache: sequences take pages when they need them and give them back") {
  CacheFixture f(4 * kPage);
  KvSequence first(f.cache), second(f.cache);
  CHECK(first.reserve(1));
  CHECK(first.view(0).pages.size() == 1);
  CHECK(first.length() == 0);
  first.advance(1);
  CHECK(first.reserve(kPage - 1));
  CHECK(first.view(1).pages.size() == 1);
  first.advance(kPage - 1);
  CHECK(first.reserve(1));
  CHECK(first.view(1).pages.size() == 2);
  CHECK(second.reserve(2 * kPage));
  second.advance(2 * kPage);

  std::set<std::int32_t> pages(first.view(0).pages.begin(), first.view(0).pages.end());
  pages.insert(second.view(0).pages.begin(), second.view(0).pages.end());
  CHECK(pages.size() == 4);
  CHECK(*pages.begin() == 0);
  CHECK(*pages.rbegin() == 3);

  SUBCASE("a full cache gives nothing, and takes nothing") {
    CHECK_FALSE(second.reserve(1));
    CHECK(second.view(0).pages.size() == 2);
    CHECK(second.length() == 2 * kPage);
    CHECK(first.reserve(kPage));  // in the page that it has
    CHECK_FALSE(first.reserve(kPage + 1));
  }
  SUBCASE("truncating keeps the page that is still in use") {
    second.truncate(kPage + 1);
    CHECK(second.length() == kPage + 1);
    CHECK(second.view(0).pages.size() == 2);
    CHECK_FALSE(first.reserve(kPage + 1));
    second.truncate(kPage);
    CHECK(second.view(0).pages.size() == 1);
    CHECK(first.reserve(kPage + 1));
  }
  SUBCASE("a sequence that ends gives all back") {
    {
      KvSequence third(f.cache);
      CHECK_FALSE(third.reserve(1));
    }
    second.truncate(0);
    CHECK(second.view(0).pages.empty());
    {
      KvSequence third(f.cache);
      CHECK(third.reserve(2 * kPage));
    }
    CHECK(second.reserve(2 * kPage));
  }
}

TEST_CASE("kv cache: layers and keys and values have memory of their own") {
  CacheFixture f(kPage);
  KvSequence sequence(f.cache);
  REQUIRE(sequence.reserve(1));
  std::set<const void*> pools;
  for (const int layer : {0, 1}) {
    pools.insert(sequence.view(layer).keys);
    pools.insert(sequence.view(layer).values);
    CHECK(sequence.view(layer).page_tokens == kPage);
    CHECK(sequence.view(layer).type == DType::F16);
  }
  CHECK(pools.size() == 4);
}

TEST_CASE("kv cache: heads are whole blocks of its type") {
  HParams h = two_layers();
  h.head_dim = 64;
  h.value_dim = 32;
  const auto backend = make_cpu_backend(1);
  CHECK(KvCache(*backend, h, kPage, DType::Q8_0).bytes() ==
        std::uint64_t{kPage * 2 * 3 * (64 + 32) / 32 * 34});
  h.value_dim = 80;
  const auto said =
      test::message_of(ErrorKind::unsupported, [&] { KvCache(*backend, h, kPage, DType::Q8_0); });
  CHECK_MESSAGE(holds(said, "q8_0 stores 32 values"), said);
  CHECK_MESSAGE(holds(said, "have 80"), said);
}

TEST_CASE("kv cache: what no memory can hold is refused") {
  HParams huge = two_layers();
  huge.n_layers = 1;
  huge.n_kv_heads = huge.head_dim = huge.value_dim = 1 << 24;
  const auto backend = make_cpu_backend(1);
  const auto said = test::message_of(ErrorKind::resource, [&] {
    KvCache(*backend, huge, std::numeric_limits<int>::max(), DType::F16);
  });
  CHECK_MESSAGE(holds(said, "smaller"), said);
}
