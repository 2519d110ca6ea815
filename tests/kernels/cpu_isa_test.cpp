#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/cpu/kernel_table.h"
#include "tests/support/kernel_data.h"

namespace {

using namespace lq::kernels;
using lq::DType;
using lq::DTypeTraits;
using namespace lq::test;

template <class Check>
void for_each_set(const Check& check) {
  for (const KernelSet& set : kernel_sets()) {
    if (!set.supported) continue;
    CAPTURE(std::string(set.table->name));
    check(*kernel_table(set.table->name));
  }
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// y[t][r] for rows [begin, end); the other places keep -1.
std::vector<float> multiply(const KernelTable& table, const StoredMatrix& w,
                            const std::vector<float>& x, int begin, int end, int n_tokens) {
  const std::size_t x_stride = x.size() / static_cast<std::size_t>(n_tokens);
  std::vector<float> y(static_cast<std::size_t>(n_tokens) * w.rows, -1);
  table.matmul[static_cast<int>(w.type)]({.w = w.bytes.data() + w.skip,
                                          .row_bytes = w.row_bytes,
                                          .cols = static_cast<int>(w.cols),
                                          .row_begin = begin,
                                          .row_end = end,
                                          .x = x.data(),
                                          .x_stride = x_stride,
                                          .y = y.data(),
                                          .y_stride = w.rows,
                                          .n_tokens = n_tokens});
  return y;
}

/// Column counts that end inside the kernels' blocks, as far as the type allows.
std::vector<std::size_t> awkward_columns(const DTypeTraits& type) {
  const auto block = static_cast<std::size_t>(type.values);
  if (block == 1) return {1, 7, 8, 33, 511, 513, 1030};
  return {block, 3 * block, 512 + block, 1024, 1024 + 3 * block};
}

void check_matmul(const KernelTable& table, DType type, std::size_t cols, int n_tokens) {
  constexpr int kRows = 21;
  CAPTURE(cols);
  CAPTURE(n_tokens);
  const StoredMatrix w(type, kRows, cols, 1);
  const auto tokens = static_cast<std::size_t>(n_tokens);
  const std::vector<float> x = normal_values(tokens * (cols + 3), 2);
  const std::vector<float> y = multiply(table, w, x, 0, kRows, n_tokens);
  double worst = 0;
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Dot dot(w.values.data() + r * cols, x.data() + t * (cols + 3), cols);
      const double error = std::fabs(static_cast<double>(y[t * kRows + r]) - dot.sum);
      keep_worst(worst, error / dot.magnitude);
    }
  CHECK(worst < 5e-7);

  std::vector<float> pieces = multiply(table, w, x, 0, 5, n_tokens);
  for (const auto& [begin, end] : {std::pair{5, 6}, {6, 19}, {19, kRows}}) {
    const std::vector<float> piece = multiply(table, w, x, begin, end, n_tokens);
    for (std::size_t i = 0; i < y.size(); ++i)
      if (const int r = static_cast<int>(i % kRows); r >= begin && r < end) {
        pieces[i] = piece[i];
      } else {
        REQUIRE(piece[i] == -1);
      }
  }
  CHECK_MESSAGE(same_bits(pieces, y), "depends on the range of rows");

  std::vector<float> singles;
  for (std::size_t t = 0; t < tokens; ++t) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(t * (cols + 3));
    const auto one =
        multiply(table, w, {begin, begin + static_cast<std::ptrdiff_t>(cols)}, 0, kRows, 1);
    singles.insert(singles.end(), one.begin(), one.end());
  }
  CHECK_MESSAGE(same_bits(singles, y), "depends on the number of tokens");
}

}  // namespace

TEST_CASE("stored blocks may stand at any address, in every kernel set") {
  constexpr std::size_t kCols = 512, kRows = 5;
  const std::vector<float> x = normal_values(2 * kCols, 7);
  for_each_set([&](const KernelTable& table) {
    lq::for_each_dtype([&](DType type, const DTypeTraits& t) {
      CAPTURE(std::string(t.name));
      const auto at = static_cast<std::size_t>(type);
      StoredMatrix w(type, kRows, kCols, 3);
      const auto expected = multiply(table, w, x, 0, kRows, 2);
      std::vector<float> values(w.values.size());
      std::vector<std::byte> aligned(w.row_bytes), moved(w.row_bytes + 1);
      table.encode[at](x.data(), nullptr, aligned.data(), kCols);
      table.encode[at](x.data(), nullptr, moved.data() + 1, kCols);
      CHECK(std::memcmp(aligned.data(), moved.data() + 1, w.row_bytes) == 0);
      w.bytes.insert(w.bytes.begin(), std::byte{0});
      table.decode[at](w.bytes.data() + 1, values.data(), values.size());
      CHECK(same_bits(values, w.values));
      CHECK(t.valid(w.bytes.data() + 1, values.size()));
      w.skip = 1;
      CHECK(same_bits(multiply(table, w, x, 0, kRows, 2), expected));
    });
  });
}

TEST_CASE("a forced instruction set is the one in use and others are refused") {
  bool found_generic = false;
  for (const KernelSet& set : kernel_sets()) {
    const KernelTable* table = kernel_table(set.table->name);
    CHECK((table != nullptr) == set.supported);
    if (table) CHECK(std::string(table->name) == set.table->name);
    found_generic |= std::string(set.table->name) == "generic" && set.supported;
  }
  CHECK(found_generic);
  CHECK(kernel_table("no-such-set") == nullptr);
  CHECK(kernel_table("AVX2 ") == nullptr);
  const KernelTable* best = kernel_table("");
  REQUIRE(best);
  for (const KernelSet& set : kernel_sets())
    if (set.supported) {
      const KernelTable* last = kernel_table(set.table->name);
      if (&set == &kernel_sets().back()) CHECK(best == last);
    }
}

TEST_CASE("every set has every kernel") {
  for_each_set([](const KernelTable& table) {
    lq::for_each_dtype([&](DType type, const DTypeTraits& t) {
      CAPTURE(std::string(t.name));
      CHECK((table.matmul[static_cast<int>(type)] != nullptr));
    });
    CHECK((table.rms_norm != nullptr));
    CHECK((table.silu_multiply != nullptr));
    CHECK((table.add != nullptr));
    CHECK((table.to_half != nullptr));
#define LQ_CACHE_TYPE(type) CHECK((table.attention[static_cast<int>(DType::type)] != nullptr));
#include "kernels/blocks/cache_types.def"
#undef LQ_CACHE_TYPE
  });
}

TEST_CASE("matmul of every type and set agrees with binary64 and with itself") {
  for_each_set([](const KernelTable& table) {
    lq::for_each_dtype([&](DType type, const DTypeTraits& t) {
      CAPTURE(std::string(t.name));
      for (const std::size_t cols : awkward_columns(t))
        for (const int n_tokens : {1, 2, 3, 4, 7}) check_matmul(table, type, cols, n_tokens);
      check_matmul(table, type, awkward_columns(t).back(), 133);
    });
  });
}

TEST_CASE("matmul reads every place of every block as its decoder does") {
  for_each_set([](const KernelTable& table) {
    lq::for_each_dtype([&](DType type, const DTypeTraits& t) {
      CAPTURE(std::string(t.name));
      constexpr std::size_t kRows = 40;
      const std::size_t cols = t.values == 1 ? 48 : static_cast<std::size_t>(t.values);
      StoredMatrix w(type, kRows, cols, 1);
      // Half of the rows are random bytes, as far as they are valid: codes that no encoder writes.
      std::mt19937 generator(9);
      for (std::size_t r = 0; r < kRows; r += 2) {
        std::byte* row = w.bytes.data() + r * w.row_bytes;
        do {
          for (std::size_t i = 0; i < w.row_bytes; ++i) row[i] = std::byte(generator() & 0xff);
        } while (!t.valid(row, cols));
      }
      t.decode(w.bytes.data(), w.values.data(), w.values.size());
      std::vector<float> units(cols * cols);  // token c picks column c
      for (std::size_t c = 0; c < cols; ++c) units[c * cols + c] = 1;
      const auto y = multiply(table, w, units, 0, kRows, static_cast<int>(cols));
      for (std::size_t r = 0; r < kRows; ++r) {
        float peak = 0;
        double worst = 0;
        for (std::size_t c = 0; c < cols; ++c) {
          const float value = w.values[r * cols + c];
          peak = std::max(peak, std::fabs(value));
          keep_worst(worst, static_cast<double>(std::fabs(y[c * kRows + r] - value)));
        }
        CHECK(worst <= static_cast<double>(2e-7f * peak));
      }
    });
  });
}

TEST_CASE("rms_norm") {
  for_each_set([](const KernelTable& table) {
    for (const std::size_t n : {1u, 7u, 8u, 31u, 64u, 1027u}) {
      CAPTURE(n);
      std::vector<float> x = normal_values(n, 3);
      const std::vector<float> weight = normal_values(n, 4);
      const double square = Dot(x.data(), x.data(), n).sum / static_cast<double>(n);
      std::vector<float> y(n);
      table.rms_norm(x.data(), weight.data(), 1e-5f, static_cast<int>(n), y.data());
      double worst = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double expected = static_cast<double>(x[i]) * static_cast<double>(weight[i]) /
                                std::sqrt(square + static_cast<double>(1e-5f));
        keep_worst(worst, std::fabs(static_cast<double>(y[i]) / expected - 1));
      }
      CHECK(worst < 5e-7);
      table.rms_norm(x.data(), weight.data(), 1e-5f, static_cast<int>(n), x.data());
      CHECK(same_bits(x, y));
    }
  });
}

TEST_CASE("silu_multiply") {
  for_each_set([](const KernelTable& table) {
    std::vector<float> gate;
    for (int i = -2700; i <= 2700; ++i) gate.push_back(static_cast<float>(i) / 31);
    const std::vector<float> up = normal_values(gate.size(), 4);
    std::vector<float> y(gate.size());
    table.silu_multiply(gate.data(), up.data(), gate.size(), y.data());
    double worst = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const auto g = static_cast<double>(gate[i]);
      const double expected = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
      if (std::fabs(expected) > 1e-36)
        keep_worst(worst, std::fabs(static_cast<double>(y[i]) / expected - 1));
      else
        CHECK(std::fabs(y[i]) < 2e-36f);
    }
    CHECK(worst < 6e-7);

    const float infinity = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> special = {-1000, 1000, -3e38f, 3e38f, infinity, nan, 0, -0.0f, 1};
    const std::vector<float> ones(special.size(), 1);
    table.silu_multiply(special.data(), ones.data(), special.size(), special.data());
    CHECK(special[0] == 0);
    CHECK(special[1] == 1000);
    CHECK(special[2] == 0);
    CHECK(special[3] == 3e38f);
    CHECK(special[4] == infinity);
    CHECK(std::isnan(special[5]));
    CHECK(special[6] == 0);
    CHECK(special[7] == 0);
  });
}

TEST_CASE("add") {
  for_each_set([](const KernelTable& table) {
    for (const std::size_t n : {1u, 7u, 8u, 100u}) {
      const std::vector<float> x = normal_values(n, 1);
      std::vector<float> y = normal_values(n, 2), expected = y;
      for (std::size_t i = 0; i < n; ++i) expected[i] += x[i];
      table.add(x.data(), n, y.data());
      CHECK(same_bits(y, expected));
    }
  });
}

TEST_CASE("to_half rounds as the definition does") {
  for_each_set([](const KernelTable& table) {
    std::vector<float> x;
    // Every upper half of a float, with lower halves around the rounding points.
    for (std::uint32_t high = 0; high < 0x10000; ++high)
      for (const std::uint32_t low : {0x0000u, 0x0fffu, 0x1000u, 0x1001u, 0x3000u, 0xf000u})
        x.push_back(bits_float(high << 16 | low));
    x.resize(x.size() - 3);
    std::vector<std::uint16_t> y(x.size());
    table.to_half(x.data(), x.size(), y.data());
    std::size_t differ = 0;
    for (std::size_t i = 0; i < x.size(); ++i) differ += y[i] != float_to_half(x[i]);
    CHECK(differ == 0);
  });
}
