// Files are the same on every machine: the encoders of every instruction set give the bytes of the
// type's own encoder, also for rows that no model has.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "tests/support/kernel_data.h"

namespace {

using namespace lq::kernels;
using namespace lq::test;
using lq::DType;
using lq::DTypeTraits;

struct Row {
  std::string name;
  std::vector<float> values;
};

/// Values made from their index and a normally distributed value.
Row make_row(const std::string& name, std::size_t n,
             const std::function<float(std::size_t, float)>& value) {
  Row row{name, normal_values(n, 11)};
  for (std::size_t i = 0; i < n; ++i) row.values[i] = value(i, row.values[i]);
  return row;
}

float finite_bits(float noise, std::size_t i) {
  const auto bits = float_bits(noise) * 2654435761u + static_cast<std::uint32_t>(i) * 40503u;
  return float_is_finite(bits_float(bits)) ? bits_float(bits) : noise;
}

std::vector<Row> awkward_rows(std::size_t n) {
  const auto spike = [](std::size_t i, float noise) { return i % 97 == 5 ? 40 * noise : noise; };
  return {
      make_row("normal", n, [](std::size_t, float v) { return 0.02f * v; }),
      make_row("spikes", n, spike),
      make_row("zero", n, [](std::size_t, float) { return 0.0f; }),
      make_row("zeros of both signs", n, [](std::size_t i, float) { return i % 3 ? 0.0f : -0.0f; }),
      make_row("constant", n, [](std::size_t, float) { return 0.37f; }),
      make_row("negative constant", n, [](std::size_t, float) { return -2.5f; }),
      make_row("positive", n, [](std::size_t, float v) { return std::fabs(v); }),
      make_row("negative", n, [](std::size_t, float v) { return -std::fabs(v) - 1; }),
      make_row("far from zero", n, [](std::size_t, float v) { return 1000 + v; }),
      make_row("cut at zero", n, [](std::size_t, float v) { return v > 0 ? v : 0.0f; }),
      make_row("mostly zero", n, [](std::size_t i, float v) { return i % 61 ? 0.0f : v; }),
      make_row("zero groups", n, [](std::size_t i, float v) { return i / 16 % 3 ? v : 0.0f; }),
      make_row("zero blocks", n, [](std::size_t i, float v) { return i / 256 % 2 ? v : 0.0f; }),
      make_row("equal magnitudes", n, [](std::size_t, float v) { return v > 0 ? 0.5f : -0.5f; }),
      make_row("ties", n, [](std::size_t, float v) { return std::round(v * 8) / 2; }),
      make_row("whole numbers", n, [](std::size_t, float v) { return std::round(v * 40); }),
      make_row("magnitudes", n,
               [](std::size_t i, float v) { return std::ldexp(v, int(i % 60) - 30); }),
      make_row("groups of sizes", n,
               [](std::size_t i, float v) { return std::ldexp(v, int(i / 16 % 11) * 4 - 30); }),
      make_row("near the tiny bound", n, [](std::size_t, float v) { return 1e-15f * v; }),
      make_row("small", n, [](std::size_t, float v) { return 1e-30f * v; }),
      make_row("subnormal", n, [](std::size_t, float v) { return 1e-40f * v; }),
      make_row("subnormal groups", n,
               [](std::size_t i, float v) { return i / 16 % 2 ? v * 1e-42f : v; }),
      make_row("too large for a half", n, [](std::size_t, float v) { return 1e7f * v; }),
      make_row("large", n, [](std::size_t, float v) { return 1e20f * v; }),
      make_row("huge", n, [](std::size_t, float v) { return std::copysign(3.4e38f, v); }),
      make_row("huge and not", n, [](std::size_t i, float v) { return i % 19 ? v : 3e38f; }),
      make_row("any bits", n, [](std::size_t i, float v) { return finite_bits(v, i); }),
      make_row("any bits of one size", n, [](std::size_t i, float v) {
        return bits_float((float_bits(finite_bits(v, i)) & 0x80ffffffu) | 0x3c000000u);
      })};
}

std::vector<Row> awkward_importance(std::size_t n) {
  return {
      make_row("ones", n, [](std::size_t, float) { return 1.0f; }),
      make_row("squares", n, [](std::size_t, float v) { return v * v + 1e-3f; }),
      make_row("some zero", n, [](std::size_t i, float v) { return i % 3 ? v * v : 0.0f; }),
      make_row("groups zero", n, [](std::size_t i, float v) { return i / 16 % 2 ? v * v : 0.0f; }),
      make_row("all zero", n, [](std::size_t, float) { return 0.0f; }),
      make_row("one a group", n, [](std::size_t i, float) { return i % 16 == 7 ? 3.0f : 0.0f; }),
      make_row("sizes", n,
               [](std::size_t i, float v) { return std::ldexp(v * v, int(i % 40) - 20); }),
      make_row("small", n, [](std::size_t, float v) { return 1e-30f * v * v; }),
      make_row("large", n, [](std::size_t, float v) { return 1e30f * v * v; })};
}

std::size_t differing_blocks(const KernelTable& table, DType type, const Row& row,
                             const float* importance) {
  const DTypeTraits& t = lq::traits(type);
  const std::size_t n = row.values.size(), n_bytes = t.row_bytes(n);
  std::vector<std::byte> expected(n_bytes), found(n_bytes + 64, std::byte(0xa5));
  t.encode(row.values.data(), importance, expected.data(), n);
  table.encode[static_cast<int>(type)](row.values.data(), importance, found.data(), n);
  std::size_t differ = 0;
  for (std::size_t at = 0; at < n_bytes; at += t.bytes)
    differ += std::memcmp(expected.data() + at, found.data() + at, t.bytes) != 0;
  const bool kept = std::all_of(found.begin() + static_cast<std::ptrdiff_t>(n_bytes), found.end(),
                                [](std::byte b) { return b == std::byte(0xa5); });
  REQUIRE_MESSAGE(kept, "wrote beyond the row");
  return differ;
}

/// The sets above generic: that one has the types' own functions.
template <class Check>
void for_each_better_set(const Check& check) {
  for (const KernelSet& set : kernel_sets()) {
    if (!set.supported || std::string(set.table->name) == "generic") continue;
    CAPTURE(std::string(set.table->name));
    check(*kernel_table(set.table->name));
  }
}

}  // namespace

TEST_CASE("encoders of every set give the bytes of the type's own encoder") {
  for_each_better_set([](const KernelTable& table) {
    lq::for_each_dtype([&](DType type, const DTypeTraits& t) {
      CAPTURE(std::string(t.name));
      const auto block = static_cast<std::size_t>(t.values);
      for (const std::size_t n : {std::size_t{2304}, std::size_t{512}, block, 3 * block}) {
        if (n % block != 0) continue;
        CAPTURE(n);
        const std::vector<Row> weights = awkward_importance(n);
        for (const Row& row : awkward_rows(n)) {
          CAPTURE(std::string(row.name));
          CHECK(differing_blocks(table, type, row, nullptr) == 0);
          for (const Row& importance : weights) {
            CAPTURE(std::string(importance.name));
            CHECK(differing_blocks(table, type, row, importance.values.data()) == 0);
          }
        }
      }
    });
  });
}

TEST_CASE("encoders of every set agree on many rows as models have them") {
  for_each_better_set([](const KernelTable& table) {
    lq::for_each_dtype([&](DType type, const DTypeTraits& t) {
      CAPTURE(std::string(t.name));
      for (std::uint32_t seed = 1; seed <= 12; ++seed) {
        Row row{"normal", normal_values(4096, seed)};
        std::vector<float> importance = normal_values(4096, seed + 100);
        for (float& v : row.values) v *= 0.02f;
        for (float& v : importance) v *= v;
        CHECK(differing_blocks(table, type, row, nullptr) == 0);
        CHECK(differing_blocks(table, type, row, importance.data()) == 0);
      }
    });
  });
}

TEST_CASE("decoders of every set give the bits of the type's own decoder") {
  for_each_better_set([](const KernelTable& table) {
    lq::for_each_dtype([&](DType type, const DTypeTraits& t) {
      CAPTURE(std::string(t.name));
      const std::size_t n_blocks = t.values == 1 ? 65536 + 5 : 515;
      const std::size_t n = n_blocks * static_cast<std::size_t>(t.values);
      std::vector<std::byte> bytes(n_blocks * t.bytes);
      std::mt19937 generator(5);
      for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::byte(generator() & 0xff);
      if (t.bytes == 2)  // every pattern
        for (std::uint32_t i = 0; i < n_blocks; ++i) std::memcpy(&bytes[2 * i], &i, 2);
      std::vector<float> expected(n), found(n + 1, 7.0f);
      t.decode(bytes.data(), expected.data(), n);
      table.decode[static_cast<int>(type)](bytes.data(), found.data(), n);
      std::size_t differ = 0;
      for (std::size_t i = 0; i < n; ++i)
        differ += float_bits(found[i]) != float_bits(expected[i]) &&
                  !(std::isnan(found[i]) && std::isnan(expected[i]));
      CHECK(differ == 0);
      CHECK(found[n] == 7.0f);
    });
  });
}

TEST_CASE("all_finite sees every place and every kind of value that is not") {
  for (const KernelSet& set : kernel_sets()) {
    if (!set.supported) continue;
    CAPTURE(std::string(set.table->name));
    const KernelTable& table = *kernel_table(set.table->name);
    for (const std::size_t n : {0u, 1u, 7u, 16u, 31u, 64u, 75u}) {
      CAPTURE(n);
      std::vector<float> x(n, -3.4028235e38f);
      CHECK(table.all_finite(x.data(), n));
      for (std::size_t i = 0; i < n; ++i)
        for (const std::uint32_t bits : {0x7f800000u, 0xff800000u, 0x7f800001u, 0xffffffffu}) {
          x[i] = bits_float(bits);
          CHECK(!table.all_finite(x.data(), n));
          x[i] = 0;
        }
    }
  }
}
