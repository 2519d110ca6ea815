// lq-quantize --target-size as users run it.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/errors.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

TEST_CASE("a target gives the best file of a size, its table, and types to use again") {
  const TempDir dir;
  const auto path = [&](const char* name) { return (dir / name).string(); };
  const std::string model = path("model.gguf"), out = path("out.gguf");
  run_expecting(0, "lq-convert",
                {testdata("models/lq-demo"), "-o", model, "--outtype", "f16", "-q"});
  run_expecting(0, "lq-quantize", {model, path("fixed.gguf"), "Q4_K_M", "-q"});
  const auto size = std::filesystem::file_size(path("fixed.gguf"));
  const auto run = run_expecting(0, "lq-quantize",
                                 {model, out, "--target-size", std::to_string(size), "--report",
                                  path("report.json"), "--save-tensor-types", path("types.txt")});
  CHECK_MESSAGE(holds(run.out, "bits per weight"), run.report());
  CHECK(holds(run.err, "TYPE Q4_K_M --tensor-type-file"));
  CHECK(std::filesystem::file_size(out) <= size);
  CHECK(static_cast<double>(std::filesystem::file_size(out)) > 0.995 * static_cast<double>(size));
  const auto report = nlohmann::json::parse(file_content(path("report.json")));
  CHECK(report.at("target").at("target_bytes") == size);
  CHECK(report.at("target").at("sizes").size() > 5);
  CHECK(report.at("tensors")[1].at("reason") == "target size");
  run_expecting(
      0, "lq-quantize",
      {model, path("again.gguf"), "Q4_K_M", "--tensor-type-file", path("types.txt"), "-q"});
  CHECK(file_content(path("again.gguf")) == file_content(out));
  const auto bits = run_expecting(0, "lq-quantize", {"-n", "--json", model, "--target-bpw", "3.5"});
  const auto plan = nlohmann::json::parse(bits.out);
  CHECK(plan.at("bits_per_weight").get<double>() <= 3.5);
  CHECK(plan.at("bits_per_weight").get<double>() > 3.48);
  CHECK(plan.at("settings").at("type") == "Q3_K_M");
}

TEST_CASE("options that contradict a target are refused") {
  const TempDir dir;
  const std::string model = (dir / "model.gguf").string(), out = (dir / "out.gguf").string();
  run_expecting(0, "lq-convert",
                {testdata("models/lq-demo-draft"), "-o", model, "--outtype", "f16", "-q"});
  const auto refused = [&](std::vector<std::string> options, const char* why) {
    options.insert(options.begin(), {model, out});
    const auto run = run_expecting(2, "lq-quantize", options);
    CHECK_MESSAGE(holds(run.err, why), run.report());
    CHECK(dir.names().size() == 1);
  };
  refused({"--target-size", "1M", "--target-bpw", "4"}, "contradict");
  refused({"Q4_K_M", "--target-size", "1M", "--pure"}, "contradict");
  refused({"COPY", "--target-size", "1M"}, "leaves nothing to choose");
  refused({"F16", "--target-bpw", "8"}, "leaves nothing to choose");
  refused({"Q4_K_M", "--save-tensor-types", "x"}, "needs --target-size");
  refused({"Q4_K_M", "--target-size", "100K"}, "the smallest has");
}
