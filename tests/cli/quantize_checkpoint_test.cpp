// lq-quantize FOLDER OUTPUT SCHEME as users run it.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/base/json.h"
#include "lib/base/sha256.h"
#include "lib/format/hf_directory.h"
#include "lib/io/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

/// Name to digest of all tensors of a folder.
std::map<std::string, std::string> tensors_of(const std::filesystem::path& folder) {
  const HfDirectory source(folder);
  std::map<std::string, std::string> found;
  for (std::size_t i = 0; i < source.tensors().size(); ++i)
    found[source.tensors()[i].name] = sha256_hex(source.raw_data(i));
  return found;
}

const std::string kText = testdata("importance/text.txt");

/// A golden layout, the arguments that make it, and how its tensors end whose bytes come from
/// calibration, which we do not do.
struct GoldenRun {
  const char* golden;
  std::vector<std::string> arguments;
  std::vector<std::string> calibrated = {};
};
const GoldenRun kGoldenRuns[] = {
    {"ct_w4a16_g128", {"w4a16"}},
    {"ct_w4a16_asym_g32", {"W4A16_ASYM", "--group-size", "32"}},
    {"ct_nvfp4a16", {"NVFP4A16"}},
    {"ct_fp8_tensor_dynamic", {"FP8"}},
    {"fp8_block_inv", {"FP8_BLOCK", "--format", "fp8"}},
    {"bnb_nf4_double", {"NF4", "--double-quant"}},
    {"ct_nvfp4", {"NVFP4", "--calibrate", kText, "-c", "64"}, {"input_global_scale"}},
    {"ct_fp8_tensor_static", {"FP8_STATIC", "--calibrate", kText, "-c", "64"}, {"input_scale"}},
    {"ct_w8a8_int8_static", {"W8A8_STATIC", "--calibrate", kText, "-c", "64"}, {"input_scale"}},
    {"gptq_v1_sym_g128", {"W4A16", "--format", "gptq"}, {"qweight", "scales"}},
    {"gptq_v2_asym_g128", {"W4A16_ASYM", "--format", "gptq_v2"}, {"qweight", "scales", "qzeros"}},
    {"awq_gemm_g128",
     {"W4A16_ASYM", "--format", "awq"},
     {"qweight", "scales", "qzeros", "norm.weight"}},
};

/// The facts of all tensors, and their bytes where they are not calibrated.
void compare_tensors(const GoldenRun& run, const Json& expected,
                     const std::filesystem::path& folder) {
  const HfDirectory source(folder);
  CHECK(source.tensors().size() == expected.size());
  for (std::size_t i = 0; i < source.tensors().size(); ++i) {
    const TensorInfo& tensor = source.tensors()[i];
    CAPTURE(tensor.name);
    REQUIRE(expected.contains(tensor.name));
    const Json& facts = expected.at(tensor.name);
    CHECK(facts[0] == source.stored_as(i));
    std::vector<std::uint64_t> shape = facts[1];
    std::reverse(shape.begin(), shape.end());
    CHECK(tensor.shape == shape);
    if (std::none_of(run.calibrated.begin(), run.calibrated.end(),
                     [&](const std::string& ending) { return tensor.name.ends_with(ending); }))
      CHECK(facts[2] == sha256_hex(source.raw_data(i)));
  }
}

}  // namespace

TEST_CASE("a checkpoint has the tensors and the configuration of the package's") {
  const TempDir dir;
  const std::string path = testdata("golden/hf_layouts.json.zst");
  const auto golden = parse_json(read_text(path), path);
  for (const GoldenRun& run : kGoldenRuns)
    for (const std::string model : {"llama3", "qwen3"}) {
      CAPTURE(model);
      CAPTURE(std::string(run.golden));
      const auto out = dir / (model + run.golden);
      std::vector<std::string> arguments = {testdata("models/toys/" + model), out.string(), "-q"};
      arguments.insert(arguments.end(), run.arguments.begin(), run.arguments.end());
      run_expecting(0, "lq-quantize", arguments);
      const Json& expected = golden.at(run.golden).at(model);
      compare_tensors(run, expected.at("tensors"), out);
      const auto config = nlohmann::json::parse(file_content(out / "config.json"));
      Json quantization = config.at("quantization_config"),
           theirs = expected.at("quantization_config");
      for (Json* one : {&quantization, &theirs}) one->erase("meta");
      CHECK(quantization == theirs);
      CHECK(std::filesystem::exists(out / "quantize_config.json") ==
            expected.contains("quantize_config"));
      CHECK(config.contains("hidden_size"));
      const bool halved = std::string(run.golden).starts_with("awq");
      CHECK(config.dump().find(halved ? "\"float16\"" : "\"bfloat16\"") != std::string::npos);
      CHECK(file_content(out / "tokenizer.json") ==
            file_content(testdata("models/toys/" + model + "/tokenizer.json")));
    }
}

TEST_CASE("the fp8 layout holds FP8 under a scale for the tensor, in both kinds of numbers") {
  const TempDir dir;
  const std::string model = testdata("models/toys/llama3");
  const auto made = [&](const char* name, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {model, (dir / name).string()});
    arguments.insert(arguments.end(), {"--format", "fp8", "-q"});
    run_expecting(0, "lq-quantize", arguments);
    return Json::parse(file_content(dir / name / "config.json")).at("quantization_config");
  };
  CHECK(made("dynamic", {"FP8"}) == Json{{"activation_scheme", "dynamic"},
                                         {"fmt", "e4m3"},
                                         {"ignored_layers", {"lm_head"}},
                                         {"quant_method", "fp8"}});
  CHECK(made("e5m2", {"FP8", "--fp8", "e5m2"}).at("fmt") == "e5m2");
  CHECK(made("blocks", {"FP8_BLOCK", "--fp8", "e5m2"}).at("weight_block_size") == Json{128, 128});
  CHECK(made("static", {"FP8_STATIC", "--calibrate", kText, "-c", "64"}).at("activation_scheme") ==
        "static");
  for (const auto& [name, type] : std::map<std::string, const char*>{
           {"dynamic", "F8_E4M3"}, {"e5m2", "F8_E5M2"}, {"static", "F8_E4M3"}}) {
    const HfDirectory written(dir / name);
    const std::string module = "model.layers.1.mlp.up_proj.";
    CHECK(written.stored_as(written.find(module + "weight").value()) == type);
    for (const char* scale : {"weight_scale", "input_scale"}) {
      const auto found = written.find(module + scale);
      CHECK(found.has_value() == (std::string(scale) == "weight_scale" || name == "static"));
      if (!found) continue;
      CHECK(written.tensors()[*found].shape.empty());
      CHECK(written.stored_as(*found) == "F32");
    }
  }
}

TEST_CASE("a checkpoint in several files holds the same, for any number of threads") {
  const TempDir dir;
  const std::string model = testdata("models/lq-demo-draft");
  run_expecting(0, "lq-quantize", {model, (dir / "one").string(), "W8A8", "-t", "1", "-q"});
  const auto run = run_expecting(0, "lq-quantize",
                                 {model, (dir / "many").string(), "W8A8", "-t", "3",
                                  "--max-shard-size", "200K", "--json", "-q"});
  const auto report = nlohmann::json::parse(run.out);
  CHECK(report.at("schema") == "lq.quantize.checkpoint/1");
  CHECK(report.at("files").size() > 2);
  CHECK(tensors_of(dir / "one") == tensors_of(dir / "many"));
  const auto index = nlohmann::json::parse(file_content(dir / "many/model.safetensors.index.json"));
  CHECK(index.at("weight_map").size() == tensors_of(dir / "many").size());
  CHECK(index.at("metadata").at("total_size") == report.at("total_bytes"));
  run_expecting(0, "lq-quantize", {model, (dir / "again").string(), "W8A8", "-t", "2", "-q"});
  CHECK(file_content(dir / "again/model.safetensors") ==
        file_content(dir / "one/model.safetensors"));
}

TEST_CASE("the new folder may be named in any way") {
  const TempDir dir;
  const std::string model = testdata("models/toys/llama3");
  for (const char* name : {"plain", "./dotted", "slashed/", "./both/"}) {
    CAPTURE(name);
    run_expecting(0, "lq-quantize", {model, name, "FP8_BLOCK", "-q"},
                  {.directory = dir.path().string()});
  }
  CHECK(dir.names().size() == 4);
  CHECK(tensors_of(dir / "plain") == tensors_of(dir / "slashed"));
}

TEST_CASE("a dry run shows what becomes of each tensor and writes nothing") {
  const TempDir dir;
  const auto run = run_expecting(0, "lq-quantize",
                                 {"-n", testdata("models/toys/llama3"), (dir / "out").string(),
                                  "W4A16", "--group-size", "32", "--ignore", "mlp"});
  CHECK(holds(run.out, "model.layers.0.mlp.down_proj.weight"));
  CHECK(holds(run.out, "copied: --ignore mlp"));
  CHECK(holds(run.out, "copied: the output"));
  CHECK(holds(run.out, "4.5"));
  CHECK(dir.names().empty());
}

TEST_CASE("checkpoints that cannot be made are refused, and nothing is left") {
  const TempDir dir;
  const std::string model = testdata("models/toys/llama3"), out = (dir / "out").string();
  const auto refused = [&](int status, std::vector<std::string> arguments, const char* why) {
    const auto run = run_expecting(status, "lq-quantize", arguments);
    CHECK_MESSAGE(holds(run.err, why), run.report());
    CHECK(!std::filesystem::exists(out));
    CHECK(!std::filesystem::exists(out + ".lq-partial"));
  };
  refused(2, {model, out, "W4A16", "--pure"}, "--pure does not go with W4A16");
  refused(2, {model, out, "FP8", "--group-size", "32"}, "--group-size does not go with FP8");
  refused(2, {model, out, "Q4_K_M", "--group-size", "32"}, "schemes for GPU engines only");
  refused(2, {model, out, "W4A16", "--ignore", "nothing"}, "matches no matrix");
  refused(2, {model, out, "W4A16", "--ignore", "("}, "not a regular expression");
  refused(2, {model, out, "W4A61"}, "did you mean 'W4A16'");
  refused(2, {model, out, "NVFP4"}, "NVFP4 needs --calibrate TEXT");
  refused(2, {model, out, "FP8", "--calibrate", kText}, "--calibrate does not go with FP8");
  refused(3, {model, out, "NVFP4", "--calibrate", "/none"}, "/none");
  refused(2, {model, "W4A16"}, "OUTPUT is required");
  refused(2, {model, model, "W4A16", "--force"}, "the same folder");
  refused(3, {model, (dir / "no/out").string(), "W4A16"}, "does not exist");
  refused(4, {model + "/config.json", out, "W4A16"}, "is no folder");

  const std::string narrow = testdata("models/toys/mistral");
  refused(4, {narrow, out, "W4A16"}, "are not whole groups of 128; use --group-size 32, or");

  run_expecting(0, "lq-quantize", {model, (dir / "done").string(), "W4A16", "-q"});
  refused(4, {(dir / "done").string(), out, "W4A16"}, "is quantized already");
  refused(3, {model, (dir / "done").string(), "W8A16"}, "use --force");
  run_expecting(0, "lq-quantize", {model, (dir / "done").string(), "W8A16", "--force", "-q"});
  CHECK(dir.names().size() == 1);
  const auto other = dir.write("mine/notes.txt", "mine");
  refused(3, {model, (dir / "mine").string(), "W8A16", "--force"}, "has no config.json");
  CHECK(file_content(other) == "mine");
}

TEST_CASE("weights that are not finite are named, and no checkpoint appears") {
  const struct {
    char low, high;
    const char* text;
  } kValues[] = {{'\xc0', '\x7f', "nan"}, {'\x80', '\x7f', "inf"}, {'\x80', '\xff', "-inf"}};
  for (const auto& value : kValues) {
    const TempDir dir;
    std::filesystem::copy(testdata("models/toys/llama3"), dir / "model");
    std::string bytes = file_content(dir / "model/model.safetensors");
    const SafetensorsReader reader(dir / "model/model.safetensors");
    const auto index = reader.find("model.layers.1.mlp.up_proj.weight");
    REQUIRE(index);
    const std::size_t at =
        bytes.find(std::string(reinterpret_cast<const char*>(reader.raw_data(*index).data()), 64));
    REQUIRE(at != std::string::npos);
    bytes[at + 2 * 777] = value.low;  // of a bfloat16
    bytes[at + 2 * 777 + 1] = value.high;
    dir.write("model/model.safetensors", bytes);
    const std::string why =
        std::string("'model.layers.1.mlp.up_proj.weight': element 777 is ") + value.text;
    for (const char* scheme : {"FP8_DYNAMIC", "FP8", "FP8_BLOCK", "W4A16", "NF4", "INT8"}) {
      const auto run = run_expecting(4, "lq-quantize",
                                     {(dir / "model").string(), (dir / "out").string(), scheme});
      CHECK_MESSAGE(holds(run.err, why), run.report());
      CHECK(dir.names() == std::vector<std::string>{"model"});
    }
  }
}
