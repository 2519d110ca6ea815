// lq-run and lq-bench on Hugging Face folders, as published and as lq-quantize writes them.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

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
// Rows of the demo model are 256 and 704 long, which groups of 128 do not divide.
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

TEST_CASE("lq-run: a folder without a model is refused with what is missing") {
  const TempDir dir;
  const auto run = run_expecting(4, "lq-run", {dir.path().string(), "hello"});
  CHECK(holds(run.err, "config.json"));
}
