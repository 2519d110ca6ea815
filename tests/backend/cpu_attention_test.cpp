#include "lib/backend/cpu_attention.h"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "tests/support/kernel_data.h"

namespace {

using namespace lq;
using namespace lq::test;

constexpr int kCacheHeads = 2, kGroup = 3, kQueryHeads = kCacheHeads * kGroup;

/// A text in a cache, appended in two steps, and queries at its end.
struct Text {
  int dim, n_tokens, first;
  AttentionRounding rounding = AttentionRounding::none;
  CacheCase cache;
  std::vector<float> k, v, q, out;

  Text(DType type, int head_dim, int tokens, int first_position, int page_tokens)
      : dim(head_dim),
        n_tokens(tokens),
        first(first_position),
        cache(type, kCacheHeads, dim, dim, page_tokens, first + tokens),
        k(normal_values(values(first + tokens, kCacheHeads), 1)),
        v(normal_values(values(first + tokens, kCacheHeads), 2)),
        q(normal_values(values(tokens, kQueryHeads), 3)),
        out(values(tokens, kQueryHeads), kNan) {}

  std::size_t values(int rows, int heads) const {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(heads * dim);
  }
  CacheView view() {
    return {cache.keys.data(), cache.values.data(), cache.pages, cache.page_tokens, cache.type};
  }
  void append(Backend& backend) {
    const int width = kCacheHeads * dim, half = (first + n_tokens) / 2;
    backend.kv_append({k.data(), half, width}, {v.data(), half, width}, kCacheHeads, 0, view());
    const int rest = first + n_tokens - half;
    backend.kv_append({k.data() + half * width, rest, width},
                      {v.data() + half * width, rest, width}, kCacheHeads, half, view());
  }
  /// Rows [begin, end) of the queries.
  void attend(Backend& backend, int begin, int end) {
    backend.attention(
        {.q = {q.data() + begin * kQueryHeads * dim, end - begin, kQueryHeads * dim},
         .cache = view(),
         .n_heads = kQueryHeads,
         .n_kv_heads = kCacheHeads,
         .head_dim = dim,
         .value_dim = dim,
         .first_position = first + begin,
         .scale = 0.2f,
         .rounding = rounding,
         .out = {out.data() + begin * kQueryHeads * dim, end - begin, kQueryHeads * dim}});
  }
  double worst_error(int step) {
    double worst = 0;
    for (int row = 0; row < n_tokens * kQueryHeads; row += step) {
      const int t = row / kQueryHeads, h = row % kQueryHeads;
      const auto expected = cache.reference(q.data() + row * dim, h / kGroup, first + t + 1,
                                            static_cast<double>(0.2f));
      for (std::size_t i = 0; i < expected.size(); ++i)
        keep_worst(worst, std::fabs(expected[i] - static_cast<double>(out[values(row, 1) + i])));
    }
    return worst;
  }
};

template <class Check>
void for_each_set_and_type(const Check& check) {
  for (const kernels::KernelSet& set : kernels::kernel_sets()) {
    if (!set.supported) continue;
    CAPTURE(std::string(set.table->name));
    for (const DType type : cache_types()) {
      CAPTURE(cache_type_name(type));
      check(set.table->name, type);
    }
  }
}

/// With Q8_0 few rows meet it with queries and weights rounded to 16 bits.
double bound_of(DType type) { return type == DType::Q8_0 ? 3e-4 : 5e-6; }

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("kv_append stores rows as the type's encoder does") {
  for_each_set_and_type([](const char* set, DType type) {
    for (const int threads : {1, 3}) {
      const auto backend = make_cpu_backend(threads, set);
      Text text(type, 32, 9, 30, 16);
      text.append(*backend);
      const CacheCase stored = text.cache;
      for (int p = 0; p < 39; ++p)
        for (int h = 0; h < kCacheHeads; ++h) {
          const std::size_t at = static_cast<std::size_t>((p * kCacheHeads + h) * 32);
          traits(type).encode(text.k.data() + at, nullptr, text.cache.key(p, h), 32);
          traits(type).encode(text.v.data() + at, nullptr, text.cache.value(p, h), 32);
        }
      CHECK(stored.keys == text.cache.keys);
      CHECK(stored.values == text.cache.values);
    }
  });
}

TEST_CASE("causal attention over what was appended, for any number of threads") {
  struct Case {
    int n_tokens, first, page_tokens, step;
  };
  for_each_set_and_type([](const char* set, DType type) {
    for (const Case c : {Case{1, 0, 16, 1},
                         {9, 30, 16, 1},
                         {1, 1300, 64, 1},
                         {5, 509, 64, 1},
                         {33, 1000, 100, 17},
                         {150, 20, 64, 37}}) {
      CAPTURE(c.n_tokens);
      CAPTURE(c.first);
      std::vector<float> first;
      for (const int threads : {1, 2, 3}) {
        const auto backend = make_cpu_backend(threads, set);
        Text text(type, 64, c.n_tokens, c.first, c.page_tokens);
        text.append(*backend);
        for (int again = 0; again < 2; ++again) {
          text.attend(*backend, 0, c.n_tokens);
          if (first.empty()) {
            first = text.out;
            CHECK(text.worst_error(c.step) < bound_of(type));
          }
          CHECK(same_bits(text.out, first));
        }
      }
    }
  });
}

TEST_CASE("attention of a prompt in pieces is that of the whole") {
  for_each_set_and_type([](const char* set, DType type) {
    const auto backend = make_cpu_backend(2, set);
    Text text(type, 64, 120, 530, 64);
    text.append(*backend);
    // Where a set may round, it does so for many rows only.
    for (const auto& way : {std::pair{AttentionRounding::none, bound_of(type)},
                            {AttentionRounding::bfloat16, 1.5e-2},
                            {AttentionRounding::bytes, 4e-2}}) {
      const double bound = way.second;
      CAPTURE(bound);
      text.rounding = way.first;
      text.attend(*backend, 0, 120);
      const std::vector<float> whole = text.out;
      for (const int piece : {1, 7, 40}) {
        CAPTURE(piece);
        for (int at = 0; at < 120; at += piece)
          text.attend(*backend, at, std::min(at + piece, 120));
        double worst = 0;
        for (std::size_t i = 0; i < whole.size(); ++i)
          keep_worst(worst, std::fabs(static_cast<double>(text.out[i] - whole[i])));
        CHECK(worst < bound);
      }
    }
  });
}

TEST_CASE("attention over a cache of fewer bits") {
  // Of values N(0,1) with scores of deviation 1.6: what the rounding of keys and values makes of a
  // result of about 0.2, largest of 40 heads.
  for (const auto& [type, bound] : {std::pair{DType::F16, 6e-4}, {DType::Q8_0, 1.2e-2}}) {
    const auto backend = make_cpu_backend(1);
    Text exact(DType::F32, 64, 7, 300, 64), text(type, 64, 7, 300, 64);
    for (Text* t : {&exact, &text}) {
      t->append(*backend);
      t->attend(*backend, 0, 7);
    }
    double worst = 0;
    for (std::size_t i = 0; i < exact.out.size(); ++i)
      keep_worst(worst, std::fabs(static_cast<double>(exact.out[i] - text.out[i])));
    std::printf("cache of %-5s largest error of a result %.2g\n", cache_type_name(type).c_str(),
                worst);
    CHECK(worst < bound);
    CHECK(worst > bound / 8);
  }
}
