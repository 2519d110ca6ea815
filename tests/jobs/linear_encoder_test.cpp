// Matrices stored for GPU engines against tensors that the packages which define the layouts made
// of the same checkpoints.
#include "lib/jobs/linear_encoder.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "kernels/groups/small_floats.h"
#include "lib/base/json.h"
#include "lib/base/sha256.h"
#include "lib/format/safetensors.h"
#include "lib/io/text_file.h"
#include "tests/support/places.h"

namespace lq {
namespace {

struct GoldenScheme {
  const char* golden;
  const char* scheme;
  int group_size = 0;  ///< 0: the scheme's
  bool symmetric = true;
  const char* format = "";  ///< empty: the scheme's
};
constexpr GoldenScheme kGoldens[] = {
    {"ct_w4a16_g128", "W4A16"},
    {"ct_w4a16_g64", "W4A16", 64},
    {"ct_w4a16_g32", "W4A16", 32},
    {"ct_w4a16_channel", "W4A16", -1},
    {"ct_w4a16_asym_g128", "W4A16_ASYM", 0, false},
    {"ct_w4a16_asym_g32", "W4A16_ASYM", 32, false},
    {"ct_w4a16_asym_channel", "W4A16_ASYM", -1, false},
    {"ct_w3a16_g128", "W3A16"},
    {"ct_w2a16_g32", "W2A16"},
    {"ct_w8a16_g128", "W8A16"},
    {"ct_w8a16_channel", "W8A16", -1},
    {"ct_w8a8_int8_dynamic", "W8A8"},
    {"ct_w4afp8_g128", "W4AFP8", 0, true, "int-quantized"},  // ours is packed, as vLLM wants it
    {"ct_fp8_tensor_dynamic", "FP8"},
    {"ct_fp8_channel_dynamic", "FP8_DYNAMIC"},
    {"ct_fp8_block", "FP8_BLOCK"},
    {"ct_nvfp4a16", "NVFP4A16"},
    {"ct_mxfp4a16", "MXFP4A16"},
    {"ct_mxfp8", "MXFP8"},
    {"fp8_block_inv", "FP8_BLOCK", 0, true, "fp8"},
    {"bnb_nf4", "NF4"},
    {"bnb_fp4", "FP4"},
    {"bnb_int8", "INT8"},
};

WeightScheme scheme_of(const GoldenScheme& golden) {
  const WeightScheme* found = find_weight_scheme(golden.scheme);
  REQUIRE(found);
  WeightScheme scheme = *found;
  if (golden.group_size != 0) scheme.group_size = std::max(0, golden.group_size);
  if (golden.group_size < 0) scheme.scales = ScalesOf::channel;
  if (*golden.format) scheme.format = golden.format;
  CHECK(scheme.symmetric == golden.symmetric);
  return scheme;
}

struct Matrix {
  Linear linear;
  std::vector<float> values;
};

std::map<std::string, Matrix> matrices_of(const SafetensorsReader& source) {
  std::map<std::string, Matrix> found;
  for (std::size_t i = 0; i < source.tensors().size(); ++i) {
    const TensorInfo& info = source.tensors()[i];
    const std::string module = info.name.substr(0, info.name.size() - 7);
    Matrix matrix{{module, info.rows(), info.row_length(), info.type}, {}};
    matrix.values.resize(info.elements());
    traits(info.type).decode(source.data(i).data(), matrix.values.data(), matrix.values.size());
    found.emplace(module, std::move(matrix));
  }
  return found;
}

/// The largest magnitude of a matrix and, for NVFP4, of those that engines fuse with it.
float largest_for(const std::map<std::string, Matrix>& all, const std::string& module, bool fused) {
  static const std::vector<std::vector<std::string>> kFused = {{"q_proj", "k_proj", "v_proj"},
                                                               {"gate_proj", "up_proj"}};
  const auto dot = module.rfind('.');
  const std::string stem = module.substr(0, dot + 1), leaf = module.substr(dot + 1);
  std::vector<std::string> names = {leaf};
  for (const auto& set : kFused)
    if (fused && std::count(set.begin(), set.end(), leaf)) names = set;
  float largest = 0;
  for (const std::string& name : names) {
    const auto& values = all.at(stem + name).values;
    largest = std::max(largest, kernels::kernel_table("generic")->groups[0].largest_magnitude(
                                    values.data(), values.size()));
  }
  return largest;
}

/// The bytes of each part, made chunk by chunk.
std::vector<std::vector<std::byte>> encoded(const LinearEncoder& encoder, const Matrix& matrix,
                                            float largest) {
  const auto parts = encoder.parts(matrix.linear);
  std::vector<std::vector<std::byte>> bytes;
  for (const LinearPart& part : parts) bytes.emplace_back(part.bytes, std::byte{0xee});
  for (std::uint64_t first = 0; first < matrix.linear.rows; first += kLinearChunk) {
    const std::uint64_t last = std::min(matrix.linear.rows, first + kLinearChunk);
    std::vector<std::byte*> out;
    for (std::size_t i = 0; i < parts.size(); ++i)
      out.push_back(bytes[i].data() + parts[i].extent(first, last, matrix.linear.rows).begin);
    encoder.encode(matrix.linear, first,
                   std::span(matrix.values)
                       .subspan(first * matrix.linear.cols, (last - first) * matrix.linear.cols),
                   largest, out);
  }
  return bytes;
}

int compare(const GoldenScheme& golden, const Json& expected, const SafetensorsReader& source,
            const kernels::KernelTable& kernels) {
  const WeightScheme scheme = scheme_of(golden);
  CHECK(Json::parse(quantization_config(scheme, {"lm_head"}, DType::BF16).dump()) ==
        expected.at("quantization_config"));
  const LinearEncoder encoder(scheme, kernels);
  const auto all = matrices_of(source);
  const Json& tensors = expected.at("tensors");
  int n_compared = 0;
  for (const auto& entry : all) {
    const std::string& module = entry.first;
    const Matrix& matrix = entry.second;
    if (tensors.contains(module + ".weight") &&
        tensors.at(module + ".weight")[0] == traits(matrix.linear.type).name)
      continue;  // stays as it is
    CAPTURE(module);
    CHECK(encoder.refuses(matrix.linear).empty());
    const float largest = largest_for(all, module, scheme.number == WeightNumber::nvfp4);
    const auto parts = encoder.parts(matrix.linear);
    const auto bytes = encoded(encoder, matrix, largest);
    for (std::size_t i = 0; i < parts.size(); ++i, ++n_compared) {
      CAPTURE(parts[i].suffix);
      const std::string name = module + "." + parts[i].suffix;
      REQUIRE(tensors.contains(name));
      const Json& tensor = tensors.at(name);
      CHECK(tensor[0] == parts[i].storage);
      CHECK(tensor[1].get<std::vector<std::uint64_t>>() == parts[i].shape);
      CHECK(tensor[2] == sha256_hex(bytes[i]));
    }
  }
  return n_compared;
}

}  // namespace

TEST_CASE("matrices for GPU engines are those of the packages that define the layouts") {
  const auto path = test::testdata("golden/hf_layouts.json.zst");
  const Json goldens = parse_json(read_text(path), path);
  CHECK(goldens.size() == std::size(kGoldens));
  int n_compared = 0;
  for (const char* model : {"llama3", "qwen3"}) {
    const SafetensorsReader source(std::filesystem::path(
        test::testdata(std::string("models/toys/") + model + "/model.safetensors")));
    for (const GoldenScheme& golden : kGoldens) {
      CAPTURE(std::string(golden.golden));
      for (const kernels::KernelSet& set : kernels::kernel_sets()) {
        if (!set.supported) continue;
        CAPTURE(std::string(set.table->name));
        n_compared += compare(golden, goldens.at(golden.golden).at(model), source,
                              *kernels::kernel_table(set.table->name));
      }
    }
  }
  MESSAGE(n_compared << " tensors of " << std::size(kGoldens) << " schemes equal the packages'");
  CHECK(n_compared > 1000);
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
