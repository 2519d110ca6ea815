#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "kernels/cpu/kernel_table.h"
#include "lib/backend/backend.h"
#include "lib/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/kernel_data.h"

namespace {

using lq::Backend;
using lq::DType;
using lq::View;
using lq::WeightView;
using namespace lq::test;

template <class Check>
void for_each_backend(const Check& check) {
  for (const lq::kernels::KernelSet& set : lq::kernels::kernel_sets()) {
    if (!set.supported) continue;
    CAPTURE(std::string(set.table->name));
    for (const int threads : {1, 2, 3}) {
      CAPTURE(threads);
      check(*lq::make_cpu_backend(threads, set.table->name));
    }
  }
}

WeightView view(const StoredMatrix& w) {
  return {w.type, w.bytes.data(), static_cast<int>(w.rows), static_cast<int>(w.cols)};
}

/// Activations in host memory with their shape.
struct Matrix {
  int rows, cols;
  std::vector<float> values;
  Matrix(int n_rows, int n_cols, std::uint32_t seed)
      : rows(n_rows), cols(n_cols), values(normal_values(size(), seed)) {}
  Matrix(int n_rows, int n_cols) : rows(n_rows), cols(n_cols), values(size()) {}
  std::size_t size() const {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols);
  }
  View view() { return {values.data(), rows, cols}; }
  float* row(int i) { return values.data() + static_cast<std::ptrdiff_t>(i) * cols; }
  bool operator==(const Matrix& other) const {
    return values.size() == other.values.size() &&
           std::memcmp(values.data(), other.values.data(), values.size() * sizeof(float)) == 0;
  }
};

/// Operands of all stages of one layer, small but with every optional part.
struct Layer {
  static constexpr int kEmbd = 192, kHeads = 6, kKvHeads = 2, kHeadDim = 20, kValueDim = 12,
                       kFf = 320;
  static constexpr int kPageTokens = 4, kPages = 20;

  StoredMatrix query{DType::Q8_0, kHeads* kHeadDim, kEmbd, 1};
  StoredMatrix key{DType::F16, kKvHeads* kHeadDim, kEmbd, 2};
  StoredMatrix value{DType::F32, kKvHeads* kValueDim, kEmbd, 3};
  StoredMatrix gate{DType::Q8_0, kFf, kEmbd, 4}, up{DType::BF16, kFf, kEmbd, 5};
  StoredMatrix down{DType::Q8_0, kEmbd, kFf, 6};
  std::vector<float> norm = normal_values(kEmbd, 7), head_norm = normal_values(kHeadDim, 8);
  std::vector<float> query_bias = normal_values(kHeads * kHeadDim, 9);
  std::vector<float> key_bias = normal_values(kKvHeads * kHeadDim, 10);
  std::vector<float> value_bias = normal_values(kKvHeads * kValueDim, 11);
  std::vector<float> down_bias = normal_values(kEmbd, 12);
  std::vector<std::int32_t> pages;
  std::vector<std::uint16_t> keys, values;

  int tokens, first_position;
  Matrix x, normed, q, k, v, gate_out, up_out, down_out;

  Layer(int n_tokens, int first)
      : keys(kPages * kPageTokens * kKvHeads * kHeadDim),
        values(kPages * kPageTokens * kKvHeads * kValueDim),
        tokens(n_tokens),
        first_position(first),
        x(tokens, kEmbd, 13),
        normed(tokens, kEmbd),
        q(tokens, kHeads * kHeadDim),
        k(tokens, kKvHeads * kHeadDim),
        v(tokens, kKvHeads * kValueDim),
        gate_out(tokens, kFf),
        up_out(tokens, kFf),
        down_out(tokens, kEmbd) {
    for (int i = kPages; i-- > 0;) pages.push_back(i);
  }

  lq::CacheView cache() { return {keys.data(), values.data(), pages, kPageTokens}; }
  lq::QkvStage qkv_stage(bool optional) {
    lq::QkvStage stage;
    stage.x = x.view();
    stage.norm = norm.data();
    stage.eps = 1e-5f;
    stage.query = view(query);
    stage.key = view(key);
    stage.value = view(value);
    if (optional) {
      stage.query_bias = query_bias.data();
      stage.key_bias = key_bias.data();
      stage.value_bias = value_bias.data();
      stage.query_norm = stage.key_norm = head_norm.data();
      stage.rope = {.n_rot = 16, .adjacent = true, .base = 500};
    }
    stage.head_dim = kHeadDim;
    stage.value_dim = kValueDim;
    stage.first_position = first_position;
    stage.cache = cache();
    stage.normed = normed.view();
    stage.q = q.view();
    stage.k = k.view();
    stage.v = v.view();
    return stage;
  }
  lq::GatedUpStage gated_up_stage() {
    return {.x = x.view(),
            .norm = norm.data(),
            .eps = 1e-5f,
            .gate = view(gate),
            .up = view(up),
            .normed = normed.view(),
            .gate_out = gate_out.view(),
            .up_out = up_out.view()};
  }
  lq::ProjectStage down_stage(bool with_bias) {
    return {.in = gate_out.view(),
            .weight = view(down),
            .bias = with_bias ? down_bias.data() : nullptr,
            .x = x.view(),
            .scratch = down_out.view()};
  }
  bool same_results(const Layer& other) const {
    return q == other.q && keys == other.keys && values == other.values &&
           gate_out == other.gate_out && x == other.x;
  }
  /// Every stage, the composed ones of the base class or those of the backend.
  void run(Backend& backend, bool composed, bool optional) {
    const lq::QkvStage qkv = qkv_stage(optional);
    const lq::GatedUpStage gated_up = gated_up_stage();
    const lq::ProjectStage project = down_stage(optional);
    composed ? backend.Backend::qkv(qkv) : backend.qkv(qkv);
    composed ? backend.Backend::gated_up(gated_up) : backend.gated_up(gated_up);
    composed ? backend.Backend::project(project) : backend.project(project);
  }
};

double worst_difference(const std::vector<double>& expected, const float* actual) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    keep_worst(worst, std::fabs(expected[i] - static_cast<double>(actual[i])));
  return worst;
}

}  // namespace

TEST_CASE("backends are made by name and say what there is") {
  CHECK(lq::make_backend("cpu", 1)->name() == "cpu");
  const std::string message =
      message_of(lq::ErrorKind::usage, [] { (void)lq::make_backend("abacus", 1); });
  CHECK(message == "unknown device 'abacus'; devices are: cpu, cuda");
}

TEST_CASE("an instruction set that is not there is refused with the list") {
  const std::string message =
      message_of(lq::ErrorKind::usage, [] { (void)lq::make_cpu_backend(1, "avx1024"); });
  CHECK(message.find("'avx1024'") != std::string::npos);
  CHECK(message.find("generic") != std::string::npos);
  CHECK(lq::make_cpu_backend(1, "generic")->instruction_set() == "generic");
}

TEST_CASE("memory is aligned, zeroed and refused when there is none") {
  const auto backend = lq::make_cpu_backend(1);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{1000003}}) {
    const auto buffer = backend->allocate(n);
    CHECK(buffer->size() == n);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer->data()) % 64 == 0);
    CHECK(std::all_of(buffer->data(), buffer->data() + n,
                      [](std::byte b) { return b == std::byte{0}; }));
  }
  for (const std::size_t n : {SIZE_MAX, SIZE_MAX / 4})
    message_of(lq::ErrorKind::resource, [&] { (void)backend->allocate(n); });
}

TEST_CASE("copies arrive") {
  const auto backend = lq::make_cpu_backend(1);
  const auto buffer = backend->allocate(8);
  const std::byte in[] = {std::byte{1}, std::byte{2}, std::byte{3}};
  std::byte out[3] = {};
  backend->copy_in(in, buffer->data() + 1);
  backend->copy_out(buffer->data() + 1, out);
  backend->synchronize();
  CHECK(std::equal(in, in + 3, out));
  backend->copy_in({}, nullptr);
  backend->copy_out(nullptr, {});
}

TEST_CASE("embed decodes the rows of the tokens") {
  const StoredMatrix table(DType::Q8_0, 9, 64, 1);
  const std::int32_t tokens[] = {8, 0, 3, 3};
  for_each_backend([&](Backend& backend) {
    Matrix y(4, 64);
    backend.embed(view(table), tokens, y.view());
    for (int t = 0; t < 4; ++t)
      CHECK(std::equal(y.row(t), y.row(t) + 64, table.values.data() + tokens[t] * 64));
  });
}

TEST_CASE("matmul agrees with binary64, whatever the threads") {
  const StoredMatrix w(DType::Q8_0, 203, 416, 1);
  for (const int tokens : {1, 3, 50}) {
    Matrix x(tokens, 416, 2), first(tokens, 203);
    lq::make_cpu_backend(1)->matmul(view(w), x.view(), first.view());
    for_each_backend([&](Backend& backend) {
      Matrix y(tokens, 203);
      backend.matmul(view(w), x.view(), y.view());
      double worst = 0;
      for (int t = 0; t < tokens; ++t)
        for (int r = 0; r < 203; ++r) {
          const Dot dot(w.values.data() + r * 416, x.row(t), 416);
          keep_worst(worst, std::fabs(static_cast<double>(y.row(t)[r]) - dot.sum) / dot.magnitude);
        }
      CHECK(worst < 5e-7);
      if (backend.instruction_set() == lq::make_cpu_backend(1)->instruction_set())
        CHECK(y == first);
    });
  }
}

TEST_CASE("rms_norm by rows and by heads") {
  for_each_backend([](Backend& backend) {
    for (const int group : {60, 20}) {
      Matrix x(3, 60, 1), y(3, 60);
      const std::vector<float> weight = normal_values(60, 2);
      backend.rms_norm(x.view(), weight.data(), 1e-6f, group, y.view());
      for (int t = 0; t < 3; ++t)
        for (int g = 0; g < 60; g += group) {
          const float* part = x.row(t) + g;
          const double square = Dot(part, part, static_cast<std::size_t>(group)).sum / group;
          std::vector<double> expected;
          for (int i = 0; i < group; ++i)
            expected.push_back(static_cast<double>(part[i]) / std::sqrt(square + 1e-6) *
                               static_cast<double>(weight[static_cast<std::size_t>(i)]));
          CHECK(worst_difference(expected, y.row(t) + g) < 2e-6);
        }
      backend.rms_norm(x.view(), weight.data(), 1e-6f, group, x.view());
      CHECK(x == y);
    }
  });
}

TEST_CASE("rope turns pairs by position times frequency") {
  constexpr int kHeadDim = 24, kRot = 16, kHeads = 2;
  const std::vector<float> divisors = {1, 1, 2, 4, 8, 8, 8, 8};
  for_each_backend([&](Backend& backend) {
    for (const bool adjacent : {false, true})
      for (const float* divisor : {static_cast<const float*>(nullptr), divisors.data()})
        for (const int first : {0, 37, 3000}) {
          Matrix x(5, kHeads * kHeadDim, 1);
          Matrix y = x;
          const lq::RopeArgs args{.n_rot = kRot,
                                  .adjacent = adjacent,
                                  .base = 10000,
                                  .scale = 0.25f,
                                  .frequency_divisors = divisor};
          backend.rope(y.view(), kHeadDim, args, first);
          double worst = 0;
          for (int t = 0; t < 5; ++t)
            for (int h = 0; h < kHeads; ++h) {
              const float* in = x.row(t) + h * kHeadDim;
              std::vector<double> expected(in, in + kHeadDim);
              for (int p = 0; p < kRot / 2; ++p) {
                const double angle = (first + t) * 0.25 * std::pow(10000.0, -2.0 * p / kRot) /
                                     (divisor ? static_cast<double>(divisor[p]) : 1);
                const int i = adjacent ? 2 * p : p, j = adjacent ? 2 * p + 1 : p + kRot / 2;
                const auto a = static_cast<double>(in[i]), b = static_cast<double>(in[j]);
                expected[static_cast<std::size_t>(i)] = a * std::cos(angle) - b * std::sin(angle);
                expected[static_cast<std::size_t>(j)] = a * std::sin(angle) + b * std::cos(angle);
              }
              keep_worst(worst, worst_difference(expected, y.row(t) + h * kHeadDim));
            }
          // Angles are binary32, as in the models' own code: an error of 2^-24 of the angle.
          CHECK(worst < 1e-6 + first * 0.25 * 3e-7);
        }
    Matrix x(1, 24, 2);
    const Matrix before = x;
    backend.rope(x.view(), 24, {}, 7);
    CHECK(x == before);
  });
}

TEST_CASE("bias, add and gated activation") {
  for_each_backend([](Backend& backend) {
    Matrix x(3, 37, 1), y(3, 37, 2), sum = y, biased = x, gated(3, 37);
    const std::vector<float> bias = normal_values(37, 3);
    backend.add(x.view(), sum.view());
    backend.add_bias(bias.data(), biased.view());
    backend.silu_multiply(x.view(), y.view(), gated.view());
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(sum.values[i] == x.values[i] + y.values[i]);
      CHECK(biased.values[i] == x.values[i] + bias[i % 37]);
      const auto g = static_cast<double>(x.values[i]);
      const double expected = g / (1 + std::exp(-g)) * static_cast<double>(y.values[i]);
      keep_worst(worst, std::fabs(expected - static_cast<double>(gated.values[i])));
    }
    CHECK(worst < 1e-6);
    backend.silu_multiply(x.view(), y.view(), x.view());
    CHECK(x == gated);
  });
}

TEST_CASE("stages of the backend are the composed ones, for any number of threads") {
  for (const bool optional : {false, true})
    for (const int tokens : {1, 2, 40}) {
      CAPTURE(tokens);
      for (const lq::kernels::KernelSet& set : lq::kernels::kernel_sets()) {
        if (!set.supported) continue;
        Layer composed(tokens, 33);
        composed.run(*lq::make_cpu_backend(1, set.table->name), true, optional);
        CHECK(composed.q.values[5] != 0);
        CHECK(std::count(composed.keys.begin(), composed.keys.end(), 0) <
              static_cast<std::ptrdiff_t>(composed.keys.size()));
        for (const int threads : {1, 2, 3}) {
          Layer fused(tokens, 33);
          fused.run(*lq::make_cpu_backend(threads, set.table->name), false, optional);
          CHECK(fused.same_results(composed));
        }
      }
    }
}

TEST_CASE("head is norm and matmul") {
  for_each_backend([](Backend& backend) {
    Layer layer(3, 0);
    Matrix logits(3, Layer::kFf), expected(3, Layer::kFf), normed(3, Layer::kEmbd);
    backend.head({.x = layer.x.view(),
                  .norm = layer.norm.data(),
                  .eps = 1e-5f,
                  .weight = view(layer.up),
                  .normed = layer.normed.view(),
                  .logits = logits.view()});
    backend.rms_norm(layer.x.view(), layer.norm.data(), 1e-5f, Layer::kEmbd, normed.view());
    backend.matmul(view(layer.up), normed.view(), expected.view());
    CHECK(logits == expected);
  });
}
