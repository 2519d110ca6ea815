// Matrices stored for GPU engines against tensors that the packages which define the layouts made
// of the same checkpoints.
#include "lib/jobs/linear_encoder.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/small_floats.h"
#include "lib/base/json.h"
#include "lib/base/sha256.h"
#include "lib/io/text_file.h"
#include "lib/jobs/quantization_config.h"
#include "tests/support/golden_layouts.h"
#include "tests/support/places.h"

namespace lq {
namespace {

struct GoldenScheme {
  const char* golden;
  const char* scheme;
  SchemeChoices choices = {};
};
const GoldenScheme kGoldens[] = {
    {"ct_w4a16_g128", "W4A16"},
    {"ct_w4a16_g64", "W4A16", {.group_size = "64"}},
    {"ct_w4a16_g32", "W4A16", {.group_size = "32"}},
    {"ct_w4a16_channel", "W4A16", {.group_size = "channel"}},
    {"ct_w4a16_asym_g128", "W4A16_ASYM"},
    {"ct_w4a16_asym_g32", "W4A16_ASYM", {.group_size = "32"}},
    {"ct_w4a16_asym_channel", "W4A16_ASYM", {.group_size = "channel"}},
    {"ct_w3a16_g128", "W3A16"},
    {"ct_w2a16_g32", "W2A16"},
    {"ct_w8a16_g128", "W8A16"},
    {"ct_w8a16_channel", "W8A16", {.group_size = "channel"}},
    {"ct_w8a8_int8_dynamic", "W8A8"},
    {"ct_w4afp8_g128", "W4AFP8"},
    {"ct_fp8_tensor_dynamic", "FP8"},
    {"ct_fp8_channel_dynamic", "FP8_DYNAMIC"},
    {"ct_fp8_block", "FP8_BLOCK"},
    {"ct_nvfp4a16", "NVFP4A16"},
    {"ct_mxfp4a16", "MXFP4A16"},
    {"ct_mxfp8", "MXFP8"},
    {"fp8_block_inv", "FP8_BLOCK", {.format = "fp8"}},
    {"bnb_nf4", "NF4"},
    {"bnb_fp4", "FP4"},
    {"bnb_int8", "INT8"},
    {"bnb_nf4_double", "NF4", {.double_quant = true}},
    {"ct_w8a8_int8_static", "W8A8_STATIC"},
    {"ct_fp8_tensor_static", "FP8_STATIC"},
    {"ct_nvfp4", "NVFP4"},
    {"gptq_v1_sym_g128", "W4A16", {.format = "gptq"}},
    {"gptq_v1_sym_8bit_g32", "W8A16", {.format = "gptq", .group_size = "32"}},
    {"gptq_v2_sym_g128", "W4A16", {.format = "gptq_v2"}},
    {"gptq_v2_asym_g128", "W4A16_ASYM", {.format = "gptq_v2"}},
    {"awq_gemm_g128", "W4A16_ASYM", {.format = "awq"}},
    {"awq_gemm_g32", "W4A16_ASYM", {.format = "awq", .group_size = "32"}},
};

WeightScheme scheme_of(const GoldenScheme& golden) {
  const WeightScheme* found = find_weight_scheme(golden.scheme);
  REQUIRE(found);
  WeightScheme scheme = with_choices(*found, golden.choices);
  if (scheme.name == "W4AFP8") scheme.format = "int-quantized";  // ours is packed, as vLLM wants it
  return scheme;
}

/// Whether the package's bytes come from calibration, which round to nearest does not have.
bool is_calibrated(const WeightScheme& scheme, const std::string& suffix) {
  if (scheme.layout == WeightLayout::awq || suffix.starts_with("input_")) return true;
  const bool gptq = scheme.layout == WeightLayout::gptq || scheme.layout == WeightLayout::gptq_v2;
  return gptq &&
         (suffix == "qweight" || suffix == "scales" || (suffix == "qzeros" && !scheme.symmetric));
}

/// How many tensors were compared: names, types and shapes, and bytes where they can be equal.
struct Compared {
  bool calibrated = true;  ///< some bytes cannot be equal: is_calibrated()
  int tensors = 0, bytes = 0;
};

void compare_config(const WeightScheme& scheme, const Json& expected) {
  std::vector<std::string> ignored;
  const Json& config = expected.at("quantization_config");
  if (config.contains("ignore")) ignored = config.at("ignore").get<std::vector<std::string>>();
  if (config.contains("modules_to_not_convert") && config.at("modules_to_not_convert").is_array())
    ignored = config.at("modules_to_not_convert").get<std::vector<std::string>>();
  if (ignored.empty()) ignored = {"lm_head"};
  Json ours = Json::parse(quantization_config(scheme, ignored, DType::BF16).dump());
  Json theirs = config;
  for (Json* one : {&ours, &theirs}) one->erase("meta");  // names the tool that made it
  CHECK(ours == theirs);
  const auto files = quantization_files(scheme, ignored);
  CHECK(files.empty() != expected.contains("quantize_config"));
  for (const ConfigFile& file : files) {
    CHECK(file.name == "quantize_config.json");
    Json content = Json::parse(file.text);
    content.erase("meta");
    CHECK(content == expected.at("quantize_config"));
  }
}

void compare_tensor(const Json& tensor, const LinearPart& part, const std::vector<std::byte>& bytes,
                    bool calibrated, Compared& compared) {
  CHECK(tensor[0] == part.storage);
  CHECK(tensor[1].get<std::vector<std::uint64_t>>() == part.shape);
  CHECK(bytes.size() == part.bytes);
  ++compared.tensors;
  if (calibrated) return;
  CHECK(tensor[2] == sha256_hex(bytes));
  ++compared.bytes;
}

/// Whether the package left the matrix as it was.
bool is_kept(const Json& tensors, const Linear& linear) {
  const std::string name = linear.module + ".weight";
  if (!tensors.contains(name)) return false;
  const std::string type = tensors.at(name)[0];
  return type == "BF16" || type == "F16" || type == "F32";
}

void compare(const WeightScheme& scheme, const Json& tensors, const test::GoldenModel& all,
             const kernels::KernelTable& kernels, Compared& compared) {
  const LinearEncoder encoder(scheme, kernels);
  for (const auto& entry : all) {
    test::GoldenMatrix matrix = entry.second;
    if (is_kept(tensors, matrix.linear) || !matrix.linear.rows ||
        matrix.linear.module.find("norm") != std::string::npos)
      continue;
    const std::string& module = entry.first;
    CAPTURE(module);
    CHECK(encoder.refuses(matrix.linear).empty());
    test::measure_golden(scheme, all, matrix.linear);
    const auto parts = encoder.parts(matrix.linear);
    const LinearBytes bytes = test::encoded(encoder, matrix);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      CAPTURE(parts[i].suffix);
      const std::string name = module + "." + parts[i].suffix;
      REQUIRE(tensors.contains(name));
      compare_tensor(tensors.at(name), parts[i], bytes[i],
                     compared.calibrated && is_calibrated(scheme, parts[i].suffix), compared);
    }
  }
}

template <class Body>
void for_each_kernel_set(const Body& body) {
  for (const kernels::KernelSet& set : kernels::kernel_sets()) {
    if (!set.supported) continue;
    CAPTURE(std::string(set.table->name));
    body(*kernels::kernel_table(set.table->name));
  }
}

}  // namespace

TEST_CASE("matrices for GPU engines are those of the packages that define the layouts") {
  const auto path = test::testdata("golden/hf_layouts.json.zst");
  const Json goldens = parse_json(read_text(path), path);
  CHECK(goldens.size() == std::size(kGoldens) + 1);  // and how the checkpoints are made
  for_each_kernel_set([&](const kernels::KernelTable& kernels) {
    Compared compared;
    for (const char* name : {"llama3", "qwen2", "qwen3", "mixtral", "qwen3moe"}) {
      const test::GoldenModel model = test::golden_model(name, goldens.at("sources"));
      for (const GoldenScheme& golden : kGoldens) {
        if (!goldens.at(golden.golden).contains(name)) continue;
        CAPTURE(std::string(golden.golden));
        CAPTURE(std::string(name));
        const Json& expected = goldens.at(golden.golden).at(name);
        const WeightScheme scheme = scheme_of(golden);
        compare_config(scheme, expected);
        compare(scheme, expected.at("tensors"), model, kernels, compared);
      }
    }
    MESSAGE(std::string(kernels.name)
            << ": " << compared.tensors << " tensors of " << std::size(kGoldens)
            << " schemes have the packages' names, types and shapes, " << compared.bytes
            << " of them the same bytes");
    CHECK(compared.bytes > 2500);
  });
}

TEST_CASE("round to nearest in the layouts of GPTQ, AutoAWQ and ModelOpt is that of numpy") {
  const auto path = test::testdata("golden/hf_rtn.json.zst");
  const Json goldens = parse_json(read_text(path), path);
  for_each_kernel_set([&](const kernels::KernelTable& kernels) {
    Compared compared{.calibrated = false};
    for (const char* name : {"llama3", "qwen3"}) {
      const test::GoldenModel model = test::golden_model(name, Json::object());
      for (const auto& golden : goldens.items()) {
        const std::string key = golden.key();
        if (key == "methods") continue;
        std::istringstream words(key);
        SchemeChoices choices;
        std::string scheme;
        words >> choices.format >> scheme >> choices.group_size;
        CAPTURE(key);
        test::GoldenModel linears = model;
        std::erase_if(
            linears, [&](const auto& one) { return one.first.find("_proj") == std::string::npos; });
        compare(with_choices(*find_weight_scheme(scheme), choices), golden.value().at(name),
                linears, kernels, compared);
      }
    }
    MESSAGE(std::string(kernels.name) << ": " << compared.tensors << " tensors, " << compared.bytes
                                      << " of them compared by their bytes");
    CHECK(compared.tensors > 1500);
  });
}

TEST_CASE("scales of activations are those of weights with the same largest magnitude") {
  const kernels::KernelTable& kernels = *kernels::kernel_table("");
  test::GoldenMatrix matrix{{.module = "m", .rows = 128, .cols = 128, .type = DType::BF16}, {}};
  matrix.values.resize(128 * 128);
  matrix.linear.largest_input = 12.5f;
  const auto input_scale = [&](const char* name, const SchemeChoices& choices) {
    const WeightScheme scheme = with_choices(*find_weight_scheme(name), choices);
    const LinearEncoder encoder(scheme, kernels);
    const auto part = encoder.parts(matrix.linear).back();
    CHECK(part.suffix.starts_with("input_"));
    float scale;
    const std::vector<std::byte> bytes = test::encoded(encoder, matrix).back();
    CHECK(bytes.size() == part.bytes);
    traits(part.storage == std::string("F32") ? DType::F32 : DType::BF16)
        .decode(bytes.data(), &scale, 1);
    return scale;
  };
  CHECK(input_scale("FP8_STATIC", {}) == 0x1.cap-6f);  // 12.5 / 448 with 8 significant bits
  CHECK(input_scale("FP8_STATIC", {.format = "fp8"}) == 12.5f / 448);
  CHECK(input_scale("W8A8_STATIC", {}) == 0x1.92p-4f);  // 12.5 / 127.5
  CHECK(input_scale("NVFP4", {}) == 215);               // 1 / 12.5 rounded, times 2688, rounded
}

TEST_CASE("E5M2 is binary16 rounded to its upper half, in every kernel set") {
  for_each_kernel_set([](const kernels::KernelTable& set) {
    std::vector<float> values;
    std::vector<std::uint8_t> expected;
    const auto add = [&](float x, std::uint32_t code) {
      values.push_back(x);
      expected.push_back(static_cast<std::uint8_t>(code));
    };
    const auto value_of = [](std::uint32_t half) {
      return kernels::half_to_float(static_cast<std::uint16_t>(half));
    };
    for (std::uint32_t half = 0; half < 0x10000; ++half) {
      const std::uint32_t magnitude = half & 0x7fff;
      if (magnitude >= 0x7c00) continue;  // infinities and what is no number
      const std::uint32_t rounded = (magnitude + 0x7f + ((magnitude >> 8) & 1)) >> 8;
      add(value_of(half), std::min<std::uint32_t>(rounded, 0x7b) | (half >> 8 & 0x80));
    }
    // Torch's casts, clamped.
    add(0.1f, 0x2e);
    add(0.3f, 0x35);
    add(61440, 0x7b);
    add(1e6f, 0x7b);
    add(-1e6f, 0xfb);
    add(0x1p-17f, 0);
    add(0x1.8p-17f, 1);
    // Beside every middle of two numbers.
    for (std::uint32_t code = 0; code < 0x7b; ++code) {
      const float middle = (value_of(code << 8) + value_of((code + 1) << 8)) / 2;
      add(std::nextafter(middle, 0.0f), code);
      add(std::nextafter(middle, 1e9f), code + 1);
    }
    std::vector<std::uint8_t> codes(values.size());
    set.groups[0].e5m2(values.data(), values.size(), 1, codes.data());
    CHECK((codes == expected));
  });
}

TEST_CASE("rows that are not whole groups are refused") {
  const LinearEncoder encoder(*find_weight_scheme("w4a16"), *kernels::kernel_table(""));
  CHECK(encoder.refuses({"m", 4, 256, DType::F16}).empty());
  CHECK(encoder.refuses({"m", 4, 200, DType::F16}) ==
        "rows of 200 values are not whole groups of 128");
  CHECK(find_weight_scheme("W5A16") == nullptr);
}

TEST_CASE("8-bit and 4-bit floats are the nearest, ties to even") {
  using namespace kernels;
  std::vector<float> e4m3, fp4 = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (int code = 0; code < 127; ++code)
    e4m3.push_back(e4m3_to_float(static_cast<std::uint8_t>(code)));
  CHECK(e4m3[1] == 0x1p-9f);
  CHECK(e4m3[8] == 0x1p-6f);
  CHECK(e4m3[126] == 448);
  const auto check = [](const std::vector<float>& values, auto encode) {
    for (std::size_t i = 0; i + 1 < values.size(); ++i) {
      const float middle = (values[i] + values[i + 1]) / 2;
      CAPTURE(values[i]);
      CHECK(encode(values[i]) == i);
      CHECK(encode(std::nextafter(middle, 0.0f)) == i);
      CHECK(encode(std::nextafter(middle, 1e9f)) == i + 1);
      CHECK(encode(middle) == (i % 2 == 0 ? i : i + 1));
    }
  };
  check(e4m3, [](float x) { return float_to_e4m3(x); });
  check(e4m3, [](float x) { return float_to_e4m3(-x) & 0x7f; });
  check(fp4, [](float x) { return static_cast<std::size_t>(float_to_fp4(x)); });
  CHECK(float_to_e4m3(-0.0f) == 0x80);
  CHECK(float_to_fp4(-0.1f) == 8);
  CHECK(float_to_e4m3(448) == 0x7e);
  CHECK(float_to_fp4(6) == 7);
}

}  // namespace lq
