// lq-bench ppl and kld: reports, what they refuse, and the script that makes the quality tables.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/json.h"
#include "tests/support/errors.h"
#include "tests/support/models.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

struct QualityDemo {
  TempDir dir;
  std::string path = convert_checkpoint(dir, "lq-demo-draft", DType::BF16).string();
  std::string small = quantize_model(path, "Q4_0", false).string();
  std::string text = testdata("quality/val.txt");
};

std::size_t count_lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("lq-bench ppl: the table, the CSV file and the JSON report say the same") {
  const QualityDemo demo;
  std::vector<std::string> arguments = {"ppl", demo.path, demo.small, "-f", demo.text,
                                        "-c",  "64",      "--chunks", "3"};
  const auto with = [&](const char* form) {
    auto all = arguments;
    all.insert(all.end(), {"-o", form});
    return run_expecting(0, "lq-bench", all).out;
  };
  const Json report = Json::parse(with("json"));
  CHECK(report["schema"] == "lq.bench.quality/1");
  CHECK(report["text"] == demo.text);
  CHECK(report["text_sha256"] == run_shell("sha256sum < " + demo.text).out.substr(0, 64));
  CHECK_FALSE(report.contains("reference"));
  REQUIRE(report["cases"].size() == 2);
  const std::string text = with("text"), md = with("md"), csv = with("csv"), lines = with("jsonl");
  CHECK(count_lines(csv) == 3);
  CHECK(count_lines(lines) == 2);
  CHECK(md.find("\n| -") != std::string::npos);
  std::istringstream in(lines);
  for (const Json& c : report["cases"]) {
    CAPTURE(c.dump());
    CHECK(c["n_ctx"] == 64);
    CHECK(c["n_chunks"] == 3);
    CHECK(c["scored_tokens"] == 3 * 31);
    CHECK_FALSE(c.contains("kld"));
    const std::vector<double> chunks = c["perplexity"]["chunks"];
    REQUIRE(chunks.size() == 3);
    double log_sum = 0;  // chunks are of one length
    for (const double value : chunks) log_sum += std::log(value) / 3;
    const double value = c["perplexity"]["value"];
    CHECK(value == doctest::Approx(std::exp(log_sum)));
    CHECK(c["perplexity"]["error"] > 0);
    char shown[32];
    std::snprintf(shown, sizeof shown, "%.4f +- ", value);
    for (const std::string& table : {text, md}) CHECK_MESSAGE(holds(table, shown), table);
    std::snprintf(shown, sizeof shown, ",%.9g,", value);
    CHECK_MESSAGE(holds(csv, shown), csv);
    std::string line;
    REQUIRE(std::getline(in, line));
    const Json alone = Json::parse(line);
    CHECK(alone["schema"] == "lq.bench.quality/1");
    CHECK(alone["cases"].size() == 1);
    CHECK(alone["cases"][0]["perplexity"] == c["perplexity"]);
  }
  CHECK(report["cases"][0]["weight_type"] == "BF16");
  CHECK(report["cases"][0]["bits_per_weight"].get<double>() >
        report["cases"][1]["bits_per_weight"]);
}

TEST_CASE("lq-bench kld: against a model and against what it said") {
  const QualityDemo demo;
  const std::string saved = demo.dir / "base.logits";
  const std::vector<std::string> text = {"-f", demo.text, "-c", "64", "--chunks", "3", "--json"};
  const auto run = [&](std::vector<std::string> arguments, bool with_text) {
    if (with_text) arguments.insert(arguments.end(), text.begin(), text.end());
    return Json::parse(run_expecting(0, "lq-bench", arguments).out);
  };
  run({"ppl", demo.path, "--save-logits", saved}, true);
  const Json exact = run({"kld", demo.small, demo.path, "--ref", demo.path}, true);
  const Json stored = run({"kld", demo.small, demo.path, "--base", saved, "--json"}, false);
  CHECK(exact["reference"]["kind"] == "model");
  CHECK(exact["reference"]["bits"] == 32);
  CHECK(stored["reference"]["kind"] == "file");
  CHECK(stored["reference"]["bits"] == 16);
  CHECK(stored["text"].is_null());
  const Json &a = exact["cases"][0]["kld"], &b = stored["cases"][0]["kld"];
  CHECK(a["mean"].get<double>() > 1e-3);
  CHECK(a["mean"].get<double>() == doctest::Approx(b["mean"].get<double>()).epsilon(2e-3));
  REQUIRE(a["chunks"].size() == 3);
  double mean = 0;
  for (const double value : a["chunks"]) mean += value / 3;
  CHECK(a["mean"].get<double>() == doctest::Approx(mean));
  double last = a["max"];
  for (const char* key :
       {"p99_9", "p99", "p95", "p90", "p75", "median", "p25", "p10", "p5", "p1", "p0_1", "min"}) {
    CHECK(a[key].get<double>() <= last);
    last = a[key];
  }
  CHECK(a["same_top"]["value"].get<double>() <= 1);
  CHECK(a["same_top"]["chunks"].size() == 3);
  CHECK(a["probability_change"]["rms"]["value"] > 0);
  CHECK(exact["cases"][1]["kld"]["mean"] == 0);
  CHECK(exact["cases"][1]["kld"]["log_perplexity_correlation"].get<double>() == doctest::Approx(1));
  const auto shown = run_expecting(0, "lq-bench", {"kld", demo.small, "--base", saved});
  for (const char* part : {"KL divergence", "same top %", "99.9 %", "stored in 16 bits"})
    CHECK_MESSAGE(holds(shown.out, part), shown.report());
}

TEST_CASE("lq-bench ppl and kld: what they refuse") {
  const QualityDemo demo;
  const auto said = [&](int status, std::vector<std::string> arguments) {
    const auto run = run_expecting(status, "lq-bench", arguments);
    CHECK_MESSAGE(run.out.empty(), run.report());
    return run.err;
  };
  const std::string saved = demo.dir / "base.logits";
  CHECK(holds(said(2, {"ppl", demo.path}), "--file is required"));
  CHECK(
      holds(said(2, {"ppl", demo.path, "-f", demo.text, "-c", "2"}), "'2' is not a whole number"));
  CHECK(holds(said(2, {"kld", demo.path, "-f", demo.text}), "one of --ref and --base"));
  CHECK(holds(said(2, {"kld", demo.path, "--ref", demo.path}), "--ref needs a text"));
  CHECK(holds(said(3, {"ppl", demo.path, "-f", demo.text + "x"}), "x: "));
  CHECK(holds(said(3, {"ppl", demo.path + "x", "-f", demo.text}), "x: "));
  const auto brief = demo.dir.write("brief.txt", std::string_view("A short text.\n")).string();
  const auto error = said(4, {"ppl", demo.path, "-f", brief});
  CHECK(holds(error, "brief.txt: has "));
  CHECK(holds(error, " tokens, 1024 are needed"));
  CHECK(holds(said(2, {"ppl", demo.path, demo.path, "-f", demo.text, "--save-logits", saved}),
              "of one model can be saved"));
  CHECK(holds(said(2, {"ppl", demo.path, "-f", demo.text, "--save-logits", demo.path, "--force"}),
              "same file"));
  CHECK(holds(said(4, {"kld", demo.path, "--base", demo.path}), "does not begin with '_logits_'"));
  run_expecting(
      0, "lq-bench",
      {"ppl", demo.path, "-f", demo.text, "-c", "32", "--chunks", "2", "--save-logits", saved});
  CHECK(holds(said(3, {"ppl", demo.path, "-f", demo.text, "-c", "32", "--save-logits", saved}),
              "--force"));
  CHECK(holds(said(4, {"kld", demo.path, "--base", saved, "-c", "64"}), "--ctx says 64"));
  const auto another = demo.dir.write("another.txt", "Quite " + file_content(demo.text)).string();
  CHECK(holds(said(4, {"kld", demo.path, "--base", saved, "-f", another}), "another text"));
  // The toys have vocabularies of their own.
  const std::string toy = convert_checkpoint(demo.dir, "qwen3", DType::F32).string();
  CHECK(holds(said(4, {"kld", toy, "--ref", demo.path, "-f", demo.text}), "vocabulary"));
  CHECK(holds(said(4, {"kld", toy, "--base", saved}), "vocabulary of 2048"));
}

TEST_CASE("lq-bench ppl: interrupted, it ends with 130 and leaves no file") {
  const QualityDemo demo;
  std::string all;
  for (int i = 0; i < 40; ++i) all += file_content(demo.text);
  const auto text = demo.dir.write("long.txt", all).string();
  const std::string saved = demo.dir / "base.logits";
  const auto before = demo.dir.names().size();
  const auto run = run_tool("lq-bench", {"ppl", demo.path, "-f", text, "--save-logits", saved},
                            {.signal = SIGINT, .signal_after = std::chrono::milliseconds(1500)});
  CHECK_MESSAGE(run.status == 130, run.report());
  CHECK(run.out.empty());
  CHECK(demo.dir.names().size() == before);
}

TEST_CASE("the script for quality tables measures what it is given and names what it cannot") {
  const QualityDemo demo;
  const auto broken = demo.dir.write("broken.gguf", std::string_view("GGUF and no more")).string();
  const std::string out = demo.dir / "table";
  const auto run =
      run_shell("LQ_BIN= CHUNKS=2 CONTEXT=64 '" + testdata("quality/table.sh") + "' -r '" +
                demo.path + "' -o '" + out + "' '" + demo.small + "' '" + broken + "'");
  expect_status(run, 0);
  CHECK_MESSAGE(holds(run.err, "skipped: " + broken), run.report());
  const std::string csv = file_content(out + "/results.csv");
  CHECK(count_lines(csv) == 3);  // the reference itself, too
  CHECK(holds(csv, "lq-demo-draft-BF16-Q4_0"));
  const std::string readme = file_content(out + "/README.md");
  CHECK_MESSAGE(holds(readme, "| lq-demo-draft-BF16-Q4_0"), readme);
  CHECK_MESSAGE(holds(readme, "broken.gguf"), readme);
}
