// Methods that choose integers, and reading back what was stored.
#include "lib/jobs/weight_method.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/error.h"
#include "lib/io/text_file.h"
#include "lib/jobs/checkpoint_pass.h"
#include "lib/jobs/linear_layouts.h"
#include "lib/jobs/quantization_config.h"
#include "tests/support/errors.h"
#include "tests/support/golden_layouts.h"
#include "tests/support/linear_reader.h"
#include "tests/support/places.h"

namespace lq {
namespace {

WeightScheme scheme_named(const std::string& name, const SchemeChoices& choices = {}) {
  return with_choices(*find_weight_scheme(name), choices);
}

double squared_difference(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
  return sum;
}

/// Calls body(scheme) for every scheme in every layout and group size that can hold it.
template <class Body>
void for_each_setting(const Body& body) {
  for (const WeightScheme& base : weight_schemes())
    for (const LayoutTraits& layout : weight_layouts())
      for (const char* group : {"", "32", "channel"})
        for (const char* float8 : {"", "e5m2"}) {
          WeightScheme scheme;
          try {
            scheme =
                with_choices(base, {.format = layout.name, .group_size = group, .float8 = float8});
          } catch (const Error&) {
            continue;
          }
          CAPTURE(scheme.name);
          CAPTURE(layout.name);
          CAPTURE(std::string(group));
          CAPTURE(std::string(float8));
          body(scheme);
        }
}

/// A small matrix with outliers, an empty group and a group of one sign.
test::GoldenMatrix awkward_matrix() {
  test::GoldenMatrix matrix{{.module = "m", .rows = 64, .cols = 256, .type = DType::F32}, {}};
  for (std::size_t i = 0; i < 64 * 256; ++i) {
    const auto x = static_cast<float>(static_cast<int>(i * 7919 % 1009) - 504) / 504.0f;
    matrix.values.push_back(i % 97 == 0 ? 5 * x : x * x * x);
  }
  std::fill_n(matrix.values.begin() + 256, 128, 0.0f);
  for (std::size_t i = 512; i < 640; ++i) matrix.values[i] = std::fabs(matrix.values[i]) + 0.5f;
  return matrix;
}

}  // namespace

TEST_CASE("methods choose what a restatement in numpy chooses, and are nearer than rounding") {
  const auto path = test::testdata("golden/hf_rtn.json.zst");
  const Json goldens = parse_json(read_text(path), path);
  const test::GoldenMatrix matrix =
      test::golden_model("llama3", Json::object()).at("model.layers.0.self_attn.k_proj");
  for (const auto& golden : goldens.at("methods").items()) {
    const std::string key = golden.key();
    const Json& expected = golden.value();
    CAPTURE(key);
    std::istringstream words(key);
    SchemeChoices choices;
    std::string name;
    words >> choices.method >> name >> choices.group_size;
    const WeightScheme scheme = scheme_named(name, choices);
    const LinearEncoder encoder(scheme, *kernels::kernel_table(""));
    const LinearBytes bytes = test::encoded(encoder, matrix);
    const double error =
        squared_difference(matrix.values, test::decoded(scheme, matrix.linear, bytes));
    CHECK(error == doctest::Approx(expected.at("error").get<double>()).epsilon(1e-3));
    CHECK(error < 0.98 * expected.at("rtn_error").get<double>());
    choices.method = "rtn";
    const WeightScheme plain = scheme_named(name, choices);
    const LinearBytes rounded =
        test::encoded(LinearEncoder(plain, *kernels::kernel_table("")), matrix);
    CHECK(error <
          0.98 * squared_difference(matrix.values, test::decoded(plain, matrix.linear, rounded)));

    std::vector<float> scales(expected.at("scales").size());
    traits(DType::BF16).decode(bytes[1].data(), scales.data(), scales.size());
    std::size_t n_equal = 0;
    for (std::size_t i = 0; i < scales.size(); ++i)
      n_equal += scales[i] == expected.at("scales")[i].get<float>() ? 1 : 0;
    MESSAGE(key << ": " << n_equal << " of " << scales.size() << " scales equal, error "
                << error / expected.at("rtn_error").get<double>() << " of rounding's");
    CHECK(n_equal >= scales.size() * 97 / 100);
  }
}

TEST_CASE("every method gives the same bytes with every kernel set") {
  const test::GoldenMatrix matrix = awkward_matrix();
  for (const WeightMethod& method : weight_methods())
    for (const char* name : {"W4A16", "W4A16_ASYM", "W3A16"}) {
      const bool symmetric = find_weight_scheme(name)->symmetric;
      if (!(symmetric ? method.symmetric : method.zero_points)) continue;
      CAPTURE(method.name);
      const WeightScheme scheme = scheme_named(name, {.method = method.name});
      const LinearBytes expected =
          test::encoded(LinearEncoder(scheme, *kernels::kernel_table("generic")), matrix);
      for (const kernels::KernelSet& set : kernels::kernel_sets())
        if (set.supported)
          CHECK(test::encoded(LinearEncoder(scheme, *kernels::kernel_table(set.table->name)),
                              matrix) == expected);
    }
}

TEST_CASE("stored matrices decode to what was meant, in every scheme and layout") {
  int n_settings = 0;
  for_each_setting([&](const WeightScheme& scheme) {
    test::GoldenMatrix matrix = awkward_matrix();
    test::measure_golden(scheme, {{"m", matrix}}, matrix.linear);
    const LinearEncoder encoder(scheme, *kernels::kernel_table(""));
    REQUIRE(encoder.refuses(matrix.linear).empty());
    LinearBytes bytes = encoder.allocate(matrix.linear);
    EncoderMemory memory;
    encoder.encode(matrix.linear, 0, matrix.values, 0, bytes, memory);
    encoder.finish(matrix.linear, bytes);
    const std::vector<float> read = test::decoded(scheme, matrix.linear, bytes);
    if (scheme.number == WeightNumber::integer) {
      IntegerRows rows = memory.chosen;
      load_integers({scheme, matrix.linear, kernels::kernel_table("generic")->groups[0], 0, 0},
                    views_of(bytes), rows);
      CHECK((rows == memory.chosen));
      bytes[0][777] ^= std::byte{1};
      load_integers({scheme, matrix.linear, kernels::kernel_table("generic")->groups[0], 0, 0},
                    views_of(bytes), rows);
      CHECK(!(rows == memory.chosen));
    }
    // Values of a group without any are zeros, and none is far from what it was.
    for (std::size_t i = 256; i < 256 + 64; ++i) CHECK(read[i] == 0);
    const double power = squared_difference(matrix.values, std::vector<float>(read.size()));
    CHECK(squared_difference(matrix.values, read) < power * (scheme.bits < 4 ? 0.7 : 0.08));
    ++n_settings;
  });
  MESSAGE(n_settings << " settings");
  CHECK(n_settings > 40);
}

TEST_CASE("values too large for the scales' type are refused by name") {
  test::GoldenMatrix matrix = awkward_matrix();
  matrix.values[5 * 256 + 3] = 1e9f;
  const WeightScheme scheme = scheme_named("W4A16", {.format = "gptq"});
  const LinearEncoder encoder(scheme, *kernels::kernel_table(""));
  LinearBytes bytes = encoder.allocate(matrix.linear);
  EncoderMemory memory;
  const std::string error = test::message_of(
      ErrorKind::input, [&] { encoder.encode(matrix.linear, 0, matrix.values, 0, bytes, memory); });
  CHECK(error.find("m: row 5 has values too large for scales of type F16") != std::string::npos);
}

TEST_CASE("shapes that no layout of a kind can hold are refused") {
  const auto why = [](const char* scheme, const SchemeChoices& choices, std::uint64_t rows,
                      std::uint64_t cols) {
    const WeightScheme chosen = scheme_named(scheme, choices);
    return LinearEncoder(chosen, *kernels::kernel_table(""))
        .refuses({.module = "m", .rows = rows, .cols = cols});
  };
  CHECK(why("W4A16", {.format = "gptq"}, 64, 256) == "");
  CHECK(why("W4A16", {.format = "gptq"}, 60, 256) ==
        "columns of 60 values are not whole words of 8, as this format packs them");
  CHECK(why("W3A16", {.format = "gptq_v2"}, 48, 256) ==
        "columns of 48 values are not whole words of 32, as this format packs them");
  CHECK(why("W8A16", {.format = "gptq", .group_size = "channel"}, 64, 30) ==
        "rows of 30 values are not whole words of 4, as this format packs them");
  CHECK(why("W4A16_ASYM", {.format = "awq"}, 12, 256) ==
        "columns of 12 values are not whole words of 8, as this format packs them");
  CHECK(why("W4A16", {.format = "modelopt"}, 3, 256) ==
        "columns of 3 values are not whole words of 2, as this format packs them");
  CHECK(why("W4A16", {}, 7, 100) == "rows of 100 values are not whole groups of 128");
  CHECK(why("NF4", {}, 3, 20) == "60 values are not whole blocks of 64");
  CHECK(why("W8A8", {}, 3, 0) == "it has no values");
  CHECK(why("W8A8", {}, 3, 5) == "");
}

TEST_CASE("tensors that become F16 keep their values, or are refused by name") {
  const float values[] = {1, -0.5f, 65504};
  std::uint16_t stored[3], halves[3];
  traits(DType::BF16).encode(values, nullptr, stored, 2);
  PieceMemory memory;
  as_half(DType::BF16, std::as_bytes(std::span(stored, 2)), "t", memory);
  traits(DType::F16).encode(values, nullptr, halves, 2);
  CHECK(memory.halves.size() == 2 * sizeof(std::uint16_t));
  CHECK(std::memcmp(memory.halves.data(), halves, memory.halves.size()) == 0);
  const float large[] = {1, 1e6f};
  CHECK(test::input_error([&] {
          as_half(DType::F32, std::as_bytes(std::span(large)), "t", memory);
        }).find("t: holds 1e+06, which F16 cannot") != std::string::npos);
}

TEST_CASE("choices that do not go together are refused with those that do") {
  const auto refused = [](const char* scheme, const SchemeChoices& choices, const char* why) {
    const std::string error =
        test::message_of(ErrorKind::usage, [&] { scheme_named(scheme, choices); });
    CAPTURE(error);
    CHECK(error.find(why) != std::string::npos);
  };
  refused("W4A16", {.format = "awq"},
          "it holds W4A16_ASYM; formats for W4A16 are "
          "compressed-tensors, gptq, gptq_v2, modelopt");
  refused("W4A16_ASYM", {.format = "gptq"}, "are compressed-tensors, gptq_v2, awq");
  refused("NF4", {.format = "gptq"}, "formats for NF4 are bitsandbytes");
  refused("FP8_DYNAMIC", {.format = "fp8"}, "it holds FP8, FP8_STATIC, FP8_BLOCK");
  refused("FP8", {.float8 = "e5m2"}, "always E4M3; use --format fp8");
  refused("W4A16", {.float8 = "e5m2"}, "no 8-bit floats");
  refused("W4A16", {.format = "modelopt", .group_size = "channel"}, "use 128");
  refused("W4A16", {.method = "hqq"}, "methods for it are rtn, mse");
  refused("FP8", {.method = "mse"}, "use rtn");
  refused("FP8", {.group_size = "32"}, "groups are fixed");
  refused("FP8", {.double_quant = true}, "scales of NF4 and FP4");
  refused("W4A16", {.format = "gptq", .scale_type = "f32"}, "a type of their own");
}

TEST_CASE("scales in binary32 are nearer to the weights") {
  for (const char* name : {"W4A16", "W8A16", "W8A8", "FP8_DYNAMIC"}) {
    CAPTURE(std::string(name));
    test::GoldenMatrix matrix =
        test::golden_model("llama3", Json::object()).at("model.layers.0.self_attn.k_proj");
    double errors[2];
    for (const bool f32 : {false, true}) {
      const WeightScheme scheme = scheme_named(name, {.scale_type = f32 ? "f32" : ""});
      const LinearEncoder encoder(scheme, *kernels::kernel_table(""));
      const auto parts = encoder.parts(matrix.linear);
      CHECK(parts[1].storage == std::string(f32 ? "F32" : "BF16"));
      const std::string config = quantization_config(scheme, {"lm_head"}, DType::BF16).dump();
      CHECK((config.find(R"("scale_dtype":"torch.float32")") != std::string::npos) == f32);
      errors[f32] = squared_difference(
          matrix.values, test::decoded(scheme, matrix.linear, test::encoded(encoder, matrix)));
    }
    CHECK(errors[1] < errors[0]);
  }
}

}  // namespace lq
