#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "tests/support/kernel_data.h"

namespace {

double rmse(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum / static_cast<double>(a.size()));
}

}  // namespace

TEST_CASE("every storage type just meets the error bound in its row") {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(65536);
  for (float& value : x) value = normal(generator);
  lq::for_each_dtype([&](lq::DType, const lq::DTypeTraits& t) {
    CAPTURE(std::string(t.name));
    std::vector<std::byte> stored(t.row_bytes(x.size()));
    std::vector<float> back(x.size());
    t.encode(x.data(), nullptr, stored.data(), x.size());
    t.decode(stored.data(), back.data(), x.size());
    const double error = rmse(x, back);
    CHECK(error <= t.max_rmse);
    CHECK(error >= t.max_rmse / 2);
  });
}

using lq::test::kInfinity;
using lq::test::kNan;

namespace {

/// Rows of 512 values that sit at the edges of what an encoder meets.
std::vector<std::vector<float>> extreme_rows() {
  std::mt19937 generator(2);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> rows;
  const float amplitudes[] = {0,     1e-45f, 1e-42f, 1e-38f, 1e-30f, 1e-20f, 1e-15f, 1e-8f,
                              1e-2f, 1,      1e4f,   7e4f,   1e10f,  1e19f,  1e30f,  1e38f};
  for (const float amplitude : amplitudes) {
    std::vector<float> noise(512), one_sign(512), lone(512, 0.0f);
    for (std::size_t i = 0; i < noise.size(); ++i) {
      noise[i] = amplitude * normal(generator);
      one_sign[i] = -std::fabs(noise[i]);
    }
    lone[300] = amplitude;
    rows.insert(rows.end(), {noise, one_sign, lone, std::vector<float>(512, amplitude),
                             std::vector<float>(512, -amplitude)});
  }
  rows.push_back(std::vector<float>(512, std::numeric_limits<float>::max()));
  return rows;
}

std::vector<std::vector<float>> importances() {
  std::mt19937 generator(3);
  std::gamma_distribution<float> gamma(0.7f, 2.0f);
  std::vector<float> spread(512), sparse(512, 0.0f);
  for (float& value : spread) value = gamma(generator);
  sparse[17] = 1e30f;
  return {spread, sparse, std::vector<float>(512, 0.0f), std::vector<float>(512, 1e-40f)};
}

}  // namespace

TEST_CASE("extreme rows are encoded without undefined behaviour and always to the same bytes") {
  const auto rows = extreme_rows(), hints = importances();
  lq::for_each_dtype([&](lq::DType, const lq::DTypeTraits& t) {
    CAPTURE(std::string(t.name));
    std::vector<std::byte> first(t.row_bytes(512)), again(t.row_bytes(512));
    std::vector<float> back(512);
    for (const auto& row : rows) {
      for (std::size_t k = 0; k <= hints.size(); ++k) {
        const float* importance = k < hints.size() ? hints[k].data() : nullptr;
        std::fill(first.begin(), first.end(), std::byte{0});
        std::fill(again.begin(), again.end(), std::byte{0xff});  // every byte is written
        t.encode(row.data(), importance, first.data(), row.size());
        t.encode(row.data(), importance, again.data(), row.size());
        CHECK(first == again);
        t.decode(first.data(), back.data(), back.size());
      }
    }
  });
}

TEST_CASE("values of ordinary size come back finite, and close, from every type") {
  lq::for_each_dtype([&](lq::DType type, const lq::DTypeTraits& t) {
    CAPTURE(std::string(t.name));
    std::vector<std::byte> stored(t.row_bytes(512));
    std::vector<float> back(512);
    for (const auto& row : extreme_rows()) {
      float peak = 0;
      for (const float value : row) peak = std::max(peak, std::fabs(value));
      // Beyond, binary16 scales are too coarse or overflow. NVFP4 holds 448 * 6 and no more.
      if (peak < 1e-2f || peak > (type == lq::DType::NVFP4 ? 2688 : 6e4f)) continue;
      t.encode(row.data(), nullptr, stored.data(), row.size());
      CHECK(t.valid(stored.data(), row.size()));
      t.decode(stored.data(), back.data(), back.size());
      float error = 0;
      for (std::size_t i = 0; i < row.size(); ++i)
        error = std::max(error, std::fabs(row[i] - back[i]));
      // 2 bits: half a step of a third of the range, and some. Fewer, or points of a grid: a lone
      // value may be lost, equal ones may need a point that is not there.
      const std::string name = t.name;
      const bool grid = name.rfind("IQ", 0) == 0 && name[2] < '4';
      CHECK(error <= (t.max_rmse < 0.5 && !grid ? 0.5f : 1.2f) * peak);
    }
  });
}

TEST_CASE("the largest accepted importance overflows in no encoder") {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  std::vector<float> row(512), hint(512);
  for (const float size : {0.1f, 1.0f, 1e2f}) {
    for (float& value : row) value = normal(generator) * size;
    for (float& weight : hint) weight = 1e24f * std::fabs(normal(generator)) / 4;
    lq::for_each_dtype([&](lq::DType, const lq::DTypeTraits& t) {
      CAPTURE(std::string(t.name));
      CAPTURE(size);
      std::vector<std::byte> stored(t.row_bytes(row.size()));
      std::vector<float> back(row.size());
      t.encode(row.data(), hint.data(), stored.data(), row.size());
      CHECK(t.valid(stored.data(), row.size()));
      t.decode(stored.data(), back.data(), back.size());
      CHECK(rmse(row, back) <= 3 * t.max_rmse * static_cast<double>(size));
    });
  }
}

TEST_CASE("values that are not numbers neither crash an encoder nor pass as valid float data") {
  lq::for_each_dtype([&](lq::DType, const lq::DTypeTraits& t) {
    CAPTURE(std::string(t.name));
    std::vector<std::byte> stored(t.row_bytes(512));
    std::vector<float> back(512);
    for (const float bad : {kNan, -kNan, kInfinity, -kInfinity}) {
      for (const bool all : {false, true}) {
        std::vector<float> row(512, all ? bad : 1.0f);
        row[259] = bad;
        for (const auto& hint : importances())
          t.encode(row.data(), hint.data(), stored.data(), 512);
        t.encode(row.data(), nullptr, stored.data(), row.size());
        t.decode(stored.data(), back.data(), back.size());
        if (t.values == 1) CHECK(!t.valid(stored.data(), row.size()));
      }
    }
  });
}

TEST_CASE("random bytes can be decoded, and are valid exactly when all their values are finite") {
  std::mt19937 generator(4);
  lq::for_each_dtype([&](lq::DType, const lq::DTypeTraits& t) {
    CAPTURE(std::string(t.name));
    int n_valid = 0, n_invalid = 0;
    const auto n = static_cast<std::size_t>(t.values);
    std::vector<std::byte> block(t.bytes, std::byte{0xff});
    std::vector<float> out(n);
    const bool always = t.valid(block.data(), n);  // every byte is a number
    for (int i = 0; i < 4000; ++i) {
      for (std::byte& byte : block) byte = static_cast<std::byte>(generator() & 0xff);
      t.decode(block.data(), out.data(), n);
      bool finite = true;
      for (const float value : out) finite = finite && std::isfinite(value);
      CHECK(t.valid(block.data(), n) == finite);
      ++(finite ? n_valid : n_invalid);
    }
    CHECK(n_valid > 0);
    CHECK((n_invalid == 0) == always);  // otherwise an exponent of all ones is not rare
  });
}
