// lq-run and lq-bench on Hugging Face folders, as published and as lq-quantize writes them.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/json.h"
#include "tests/support/errors.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"
#include "tests/support/toys.h"

using namespace lq;
using namespace lq::test;

namespace {

constexpr char kQuestion[] = "What is the capital of France?";
constexpr char kAnswer[] = "The capital of France is Paris.";

struct Quantized {
  std::vector<std::string> arguments;  ///< after the folders
  const char* type;                    ///< of most weights when they run
};
// Groups of 32 and 64 have blocks of 32, those of 128 and whole rows have blocks of 128.
const Quantized kQuantized[] = {{{"W4A16", "--group-size", "32"}, "I4_32"},
                                {{"W4A16_ASYM", "--group-size", "64"}, "I4_32"},
                                {{"W8A8"}, "I8_128"},
                                {{"FP8_DYNAMIC"}, "E4M3_128"},
                                {{"NVFP4A16"}, "FP4_16"},
                                {{"MXFP4A16"}, "MXFP4"},
                                {{"NF4"}, "NF4"},
                                {{"INT8"}, "I8_128"}};

}  // namespace

TEST_CASE("lq-run: a published folder answers as its file does") {
  const std::string folder = checkpoint("lq-demo").string();
  CHECK(run_expecting(0, "lq-run", {folder, kQuestion, "--temp", "0"}).out == kAnswer);
  CHECK(run_expecting(0, "lq-run", {folder, kQuestion, "--temp", "0", "--no-repack"}).out ==
        kAnswer);
  const TempDir dir;
  const std::string strings = dir.write("strings.jsonl", "\"Hello\"\n").string();
  CHECK(run_expecting(0, "lq-run", {folder, "--tokenize", strings}).out.starts_with("["));
}

TEST_CASE("lq-run and lq-bench: folders that lq-quantize writes run as they are") {
  const TempDir dir;
  for (const Quantized& one : kQuantized) {
    CAPTURE(one.arguments.front());
    const std::string folder = (dir.path() / one.arguments.front()).string();
    std::vector<std::string> arguments = {checkpoint("lq-demo").string(), folder};
    arguments.insert(arguments.end(), one.arguments.begin(), one.arguments.end());
    run_expecting(0, "lq-quantize", arguments);
    CHECK(run_expecting(0, "lq-run", {folder, kQuestion, "--temp", "0"}).out == kAnswer);
    const auto exact = run_expecting(0, "lq-run", {folder, kQuestion, "--temp", "0", "--exact"});
    CHECK(exact.out == kAnswer);
    const auto bench =
        run_expecting(0, "lq-bench", {folder, "-p", "8", "-n", "4", "-r", "1", "--json"});
    const Json report = parse_json(bench.out, "report");
    CHECK(report["cases"][0]["weight_type"] == one.type);
    CHECK(report["cases"][0]["model_sha256"].get<std::string>().size() == 64);
  }
}

TEST_CASE("lq-run: a file of NVFP4 with factors beside its matrices answers as the folder does") {
  const TempDir dir;
  const std::string folder = (dir / "folder").string(), file = (dir / "model.gguf").string();
  run_expecting(0, "lq-quantize", {checkpoint("lq-demo").string(), folder, "NVFP4A16"});
  run_expecting(0, "lq-convert", {folder, "-o", file});
  for (const char* how : {"--exact", "--no-repack", "--kv-type=f16"}) {
    const auto run = run_expecting(0, "lq-run", {file, kQuestion, "--temp", "0", how});
    CHECK(run.out == kAnswer);
  }
}

TEST_CASE("lq-bench: the longest names of types fit their column") {
  const TempDir dir;
  const std::string folder = (dir / "folder").string();
  run_expecting(0, "lq-quantize", {checkpoint("lq-demo").string(), folder, "FP8_DYNAMIC", "-q"});
  const auto run = run_expecting(0, "lq-bench", {folder, "-p", "4", "-n", "0", "-r", "1"});
  std::istringstream lines(run.out);
  std::string header, line;
  std::getline(lines, header);
  std::getline(lines, line);
  CHECK(line.size() == header.size());
  std::getline(lines, line);
  CHECK(holds(line, "E4M3_128"));
  CHECK(line.size() == header.size());
}

TEST_CASE("activations that cannot be rounded as the checkpoint wants are warned of") {
  const TempDir dir;
  const std::string plain = (dir / "plain").string(), eight = (dir / "eight").string();
  run_expecting(0, "lq-quantize", {checkpoint("lq-demo").string(), plain, "W8A8", "-q"});
  run_expecting(0, "lq-quantize", {checkpoint("lq-demo").string(), eight, "INT8", "-q"});
  const CheckpointCopy changed(plain);
  changed.change("config.json", [](Json& config) {
    Json& activations =
        config["quantization_config"]["config_groups"]["group_0"]["input_activations"];
    activations["num_bits"] = 4;
    activations["symmetric"] = false;
  });
  const auto answer = [](const std::string& folder, const char* how) {
    return run_expecting(0, "lq-run", {folder, kQuestion, "--temp", "0", "--json", how});
  };
  const struct {
    std::string folder, rounding;
  } folders[] = {{changed.path().string(), "('int' of 4 bits, strategy 'token', with zero points)"},
                 {eight, "(8-bit integers, a scale a token, apart from columns of outliers)"}};
  for (const auto& one : folders) {
    const auto run = answer(one.folder, "--kv-type=f16");
    const Json warnings = Json::parse(run.out)["warnings"];
    REQUIRE(warnings.size() == 1);
    const auto text = warnings[0].get<std::string>();
    CHECK(holds(text, one.folder + ": activations are not rounded"));
    CHECK(holds(text, one.rounding));
    CHECK(holds(text, "used as they are"));
    CHECK(holds(run.err, text));
    const auto exact = answer(one.folder, "--exact");  // rounds nothing, whatever the checkpoint
    CHECK(Json::parse(exact.out)["warnings"].empty());
    CHECK(!holds(exact.err, "rounded"));
    const auto bench = run_expecting(
        0, "lq-bench", {one.folder, "-p", "8", "-n", "4", "-r", "1", "-t", "1,2", "--json"});
    const Json report = Json::parse(bench.out);
    CHECK(!report["cases"].empty());
    for (const Json& c : report["cases"]) CHECK(c["warnings"] == warnings);
    CHECK(bench.err.find(one.rounding) == bench.err.rfind(one.rounding));  // once
    CHECK(holds(bench.err, one.rounding));
  }
  const auto run = answer(plain, "--kv-type=f16");
  CHECK(Json::parse(run.out)["warnings"].empty());
  CHECK(!holds(run.err, "rounded"));
}

TEST_CASE("lq-run: a folder without a model is refused with what is missing") {
  const TempDir dir;
  const auto run = run_expecting(4, "lq-run", {dir.path().string(), "hello"});
  CHECK(holds(run.err, "config.json"));
}
