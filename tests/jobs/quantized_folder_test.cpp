// Quantized folders as matrices: values and whole files against programs that we did not write, and
// every way in which a folder can be wrong.
#include "lib/jobs/quantized_folder.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/base/sha256.h"
#include "lib/format/hf_directory.h"
#include "lib/io/mapped_file.h"
#include "lib/jobs/convert.h"
#include "lib/jobs/convert_folder.h"
#include "tests/support/places.h"
#include "tests/support/quantized_checkpoint.h"
#include "tests/support/toys.h"

namespace lq {
namespace {

namespace fs = std::filesystem;
using test::QuantizedCase;
using test::TempDir;

constexpr const char* kToys[] = {"llama3", "mistral", "qwen3", "smollm3"};

std::unique_ptr<QuantizedFolder> open_quantized(const fs::path& path,
                                                Nvfp4As nvfp4 = Nvfp4As::with_divisor) {
  const HfFolder folder(path);
  const auto schemes = read_stored_schemes(folder);
  REQUIRE(schemes);
  return std::make_unique<QuantizedFolder>(std::make_unique<HfDirectory>(path), *schemes, nvfp4);
}

/// Digests of folders that the scheme can make, by "MODEL-CASE".
template <class Check>
void for_each_folder(const std::map<std::string, std::string>& digests, const Check& check) {
  const TempDir dir;
  for (const char* model : kToys)
    for (const QuantizedCase& one : test::quantized_cases()) {
      const std::string name = std::string(model) + "-" + one.name;
      const auto has_name = [&](const auto& entry) { return entry.first.starts_with(name); };
      if (std::none_of(digests.begin(), digests.end(), has_name)) continue;
      CAPTURE(name);
      test::write_quantized(test::checkpoint(model), one, dir / name);
      check(name, dir / name);
      fs::remove_all(dir / name);
    }
}

/// Reads a tensor as conversions do: in pieces of an odd size.
std::vector<std::byte> read_in_pieces(const TensorSource& source, std::size_t index) {
  std::vector<std::byte> bytes(source.tensors()[index].bytes());
  for (std::size_t at = 0; at < bytes.size(); at += 4099)
    source.read(index, at,
                std::span(bytes).subspan(at, std::min<std::size_t>(4099, bytes.size() - at)));
  return bytes;
}

/// SHA-256 of the values of all quantized matrices in the order of their names, -0 as 0.
std::string digest_of_values(const QuantizedFolder& folder) {
  std::map<std::string, std::size_t> matrices;
  for (std::size_t i = 0; i < folder.tensors().size(); ++i)
    if (folder.matrix(i)) matrices.emplace(folder.tensors()[i].name, i);
  Sha256 hash;
  for (const auto& entry : matrices) {
    const TensorInfo& info = folder.tensors()[entry.second];
    const auto data = folder.data(entry.second);
    CHECK(data.size() == info.bytes());
    const auto pieces = read_in_pieces(folder, entry.second);
    CHECK(std::equal(data.begin(), data.end(), pieces.begin(), pieces.end()));
    std::vector<float> values(info.elements());
    traits(info.type).decode(data.data(), values.data(), values.size());
    for (float& value : values) value += 0.0f;
    hash.update(std::as_bytes(std::span(values)));
    folder.release(entry.second);
  }
  return to_hex(hash.finish());
}

/// How many matrices became which type.
std::map<std::string, int> types_of(const QuantizedFolder& folder) {
  std::map<std::string, int> types;
  for (std::size_t i = 0; i < folder.tensors().size(); ++i)
    if (folder.matrix(i)) ++types[traits(folder.tensors()[i].type).name];
  return types;
}

std::map<std::string, int> types_of_case(const char* model, const char* name) {
  const TempDir dir;
  test::write_quantized(test::checkpoint(model), test::quantized_case(name), dir / "q");
  return types_of(*open_quantized(dir / "q"));
}

using Types = std::map<std::string, int>;

}  // namespace

TEST_CASE("quantized folders have the values that numpy reads [slow]") {
  const auto expected = test::digests(test::testdata("golden/quantized_values.sha256"));
  int n = 0;
  for_each_folder(expected, [&](const std::string& name, const fs::path& path) {
    CHECK(digest_of_values(*open_quantized(path)) == expected.at(name));
    ++n;
  });
  CHECK(n == static_cast<int>(expected.size()));
  MESSAGE(n << " folders");
}

TEST_CASE("matrices of E5M2 have the values that the format's definition gives") {
  const TempDir dir;
  test::write_quantized(test::checkpoint("llama3"),
                        {"e5m2", "FP8", {.format = "fp8", .float8 = "e5m2"}}, dir / "q");
  const auto folder = open_quantized(dir / "q");
  const HfDirectory stored(dir / "q");
  const std::size_t at = *folder->find("model.layers.0.mlp.up_proj.weight");
  const auto codes = stored.raw_data(*stored.find("model.layers.0.mlp.up_proj.weight"));
  float scale = 0;
  std::memcpy(&scale,
              stored.raw_data(*stored.find("model.layers.0.mlp.up_proj.weight_scale")).data(),
              sizeof scale);
  std::vector<float> values(codes.size());
  REQUIRE(folder->tensors()[at].type == DType::F32);
  std::memcpy(values.data(), folder->data(at).data(), values.size() * sizeof(float));
  int differ = 0, other = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const int code = std::to_integer<int>(codes[i]), exponent = code >> 2 & 31, mantissa = code & 3;
    const double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -16) : std::ldexp(4 + mantissa, exponent - 17);
    const float value = static_cast<float>(code & 128 ? -magnitude : magnitude) * scale;
    differ += value != values[i];
    other += value != 0;
  }
  CHECK(differ == 0);
  CHECK(other > 1000);
}

TEST_CASE("quantized folders are converted to the reference's bytes [slow]") {
  const auto expected = test::digests(test::testdata("golden/quantized_convert.sha256"));
  int n = 0;
  for_each_folder(expected, [&](const std::string& name, const fs::path& path) {
    for (const char* type : {"auto", "f32", "q8_0"}) {
      const bool automatic = std::string_view(type) == "auto";
      const std::string file = name + (automatic ? "" : std::string("-") + type) + ".gguf";
      if (!expected.contains(file)) continue;
      ConvertOptions options;
      options.input = path;
      if (!automatic) options.type = dtype_named(type);
      Monitor monitor;
      const auto conversion = plan_conversion(options, monitor);
      const TempDir out;
      write_plan(conversion.plan, out / file, {.threads = n % 3 + 1}, monitor);
      CHECK_MESSAGE(sha256_hex(MappedFile(out / file).bytes()) == expected.at(file), file);
      ++n;
    }
  });
  CHECK(n == static_cast<int>(expected.size()));
  MESSAGE(n << " files");
}

TEST_CASE("matrices of quantized folders have the narrowest type that holds them") {
  CHECK(types_of_case("llama3", "w4-128") == Types{{"I4_128", 14}});
  CHECK(types_of_case("llama3", "w4a-32") == Types{{"I4_32", 14}});
  CHECK(types_of_case("mistral", "w4-channel") == Types{{"I4_128", 2}, {"I4_32", 12}});
  CHECK(types_of_case("llama3", "w3-32") == Types{{"I4_32", 14}});
  CHECK(types_of_case("llama3", "w4afp8") == Types{{"I8_32", 14}});  // products leave inputs alone
  CHECK(types_of_case("llama3", "w8-channel") == Types{{"I8_128", 14}});
  CHECK(types_of_case("llama3", "gptq-W8A16") == Types{{"I8_32", 14}});
  CHECK(types_of_case("llama3", "awq-64") == Types{{"I4_32", 14}});
  CHECK(types_of_case("llama3", "fp8block") == Types{{"E4M3_128", 14}});
  CHECK(types_of_case("llama3", "mxfp8") == Types{{"E4M3_32", 14}});
  CHECK(types_of_case("llama3", "nvfp4") == Types{{"FP4_16", 14}});
  CHECK(types_of_case("mistral", "nvfp4") == Types{{"F32", 2}, {"FP4_16", 12}});
  CHECK(types_of_case("llama3", "mxfp4") == Types{{"MXFP4", 14}});
  CHECK(types_of_case("llama3", "nf4d") == Types{{"NF4", 14}});
  CHECK(types_of_case("mistral", "fp4") == Types{{"F32", 2}, {"FP4", 12}});
  CHECK(types_of_case("llama3", "int8") == Types{{"I8_128", 14}});
}

TEST_CASE("kept types: a plan copies the rows of a quantized folder") {
  const TempDir dir;
  test::write_quantized(test::checkpoint("llama3"), test::quantized_case("nvfp4"), dir / "q");
  Monitor monitor;
  const auto conversion = plan_conversion({.input = dir / "q", .keep_types = true}, monitor);
  int n = 0;
  for (const PlannedTensor& tensor : conversion.plan.tensors) {
    if (tensor.output.type != DType::FP4_16) continue;
    CHECK(tensor.source_type() == DType::FP4_16);
    ++n;
  }
  CHECK(n == 14);
}

TEST_CASE("quantized folders say how activations are rounded") {
  struct Expected {
    const char* name;
    ActivationScheme scheme;
  };
  const Expected cases[] = {
      {"w4-32", ActivationScheme::none},       {"w8a8", ActivationScheme::int8_token},
      {"w4afp8", ActivationScheme::fp8_token}, {"fp8", ActivationScheme::fp8_tensor},
      {"fp8dyn", ActivationScheme::fp8_token}, {"fp8block", ActivationScheme::fp8_group},
      {"fp8inv", ActivationScheme::fp8_group}, {"mxfp8", ActivationScheme::mxfp8_group},
      {"nvfp4", ActivationScheme::none},       {"nf4", ActivationScheme::none},
      {"gptq-W4A16", ActivationScheme::none}};
  for (const Expected& one : cases) {
    const TempDir dir;
    test::write_quantized(test::checkpoint("llama3"), test::quantized_case(one.name), dir / "q");
    const auto folder = open_quantized(dir / "q");
    for (std::size_t i = 0; i < folder->tensors().size(); ++i) {
      const ActivationRounding found = folder->activations(i);
      CHECK(found.scheme == (folder->matrix(i) ? one.scheme : ActivationScheme::none));
      CHECK(found.scale == 0);
    }
  }
}

TEST_CASE("rows of quantized folders are made on several threads") {
  const TempDir dir;
  test::write_quantized(test::checkpoint("qwen3"), test::quantized_case("w4a-32"), dir / "q");
  const auto folder = open_quantized(dir / "q");
  std::string digests[3];
  std::vector<std::thread> threads;
  for (std::string& digest : digests)
    threads.emplace_back([&] {
      Sha256 hash;
      for (std::size_t i = 0; i < folder->tensors().size(); ++i)
        hash.update(read_in_pieces(*folder, i));
      digest = to_hex(hash.finish());
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(digests[0] == digests[1]);
  CHECK(digests[0] == digests[2]);
}

}  // namespace lq
