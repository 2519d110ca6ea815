// lq-bench: the reports and what it refuses.
#include <doctest/doctest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "kernels/cpu/kernel_table.h"
#include "lib/base/json.h"
#include "tests/support/errors.h"
#include "tests/support/models.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

struct Demo {
  TempDir dir;
  std::string path = convert_checkpoint(dir, "lq-demo-draft", DType::BF16).string();
};

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// The statistics are those of the samples.
void check_spread(const Json& spread, const std::vector<double>& values) {
  const auto near = [](const Json& number, double wanted) {
    return number.get<double>() == doctest::Approx(wanted).epsilon(1e-9);
  };
  CHECK(near(spread["median"], median(values)));
  CHECK(near(spread["min"], *std::min_element(values.begin(), values.end())));
  CHECK(near(spread["max"], *std::max_element(values.begin(), values.end())));
  std::vector<double> distances;
  for (const double value : values) distances.push_back(std::fabs(value - median(values)));
  CHECK(near(spread["mad"], median(distances)));
}

void check_case(const Json& c, std::size_t repetitions, int depth = 0) {
  const bool prompt = c["kind"] == "prompt";
  CAPTURE(c.dump());
  const int n = c[prompt ? "n_prompt" : "n_generate"];
  REQUIRE(c["samples_ns"].size() == repetitions);
  std::vector<double> rates;
  for (const double ns : c["samples_ns"]) rates.push_back(1e9 * n / ns);
  check_spread(c["tokens_per_second"], rates);
  for (const char* key : {"model_bytes", "parameters", "load_ns", "peak_rss_bytes"})
    CHECK_MESSAGE(c.value(key, 0.0) > 0, std::string(key));
  CHECK(c["peak_rss_bytes"] > 1'000'000);
  CHECK(c["architecture"] == "qwen3");
  CHECK(c["weight_type"] == "BF16");
  CHECK(c["device"] == "cpu");
  CHECK(c["kv_type"] == "f16");
  CHECK(c["exact"] == false);
  CHECK(c["warnings"].empty());
  CHECK(c["batch"] == 1);
  CHECK(c["depth"] == depth);
  CHECK(c["unsteady"].is_boolean());
  CHECK(c["isa"].is_string());
  if (prompt) {
    const std::vector<double> first = c["first_token_samples_ns"];
    REQUIRE(first.size() == repetitions);
    check_spread(c["first_token_ns"], first);
    for (std::size_t i = 0; i < first.size(); ++i)
      CHECK(first[i] >= c["samples_ns"][i].get<double>());
  } else {
    CHECK(c["bytes_per_token"] > 0);
    CHECK(c["percent_of_bandwidth"] > 0);
    const double share =
        c["tokens_per_second"]["median"].get<double>() *
        (c["bytes_per_token"].get<double>() + c["cache_bytes_per_token"].get<double>()) /
        c["memory_bandwidth_bytes_per_second"].get<double>();
    CHECK(c["percent_of_bandwidth"].get<double>() == doctest::Approx(100 * share));
  }
}

}  // namespace

TEST_CASE("lq-bench: the JSON report has every sample and what it takes to compare it") {
  const Demo demo;
  const auto run = run_expecting(
      0, "lq-bench", {demo.path, "-p", "8,16", "-n", "4", "-t", "1,2", "-r", "3", "-o", "json"});
  CHECK(run.err.empty());
  const auto json = Json::parse(run.out);
  CHECK(json["schema"] == "lq.bench.speed/1");
  CHECK(json["lq_version"].is_string());
  for (const char* key : {"cpu", "cores", "instruction_sets", "memory_bytes", "operating_system"})
    CHECK_MESSAGE(json["machine"].contains(key), std::string(key));
  CHECK(json["machine"]["cores"] >= 1);
  CHECK(json["machine"]["memory_bytes"] > 1e8);
  for (const char* key : {"version", "type", "compiler"})
    CHECK_MESSAGE(json["build"].contains(key), std::string(key));
  CHECK(json["memory_bandwidth_bytes_per_second"] > 1e8);
  REQUIRE(json["cases"].size() == 6);
  const auto digest = run_shell("sha256sum < " + demo.path).out.substr(0, 64);
  std::vector<std::string> found;
  for (const Json& c : json["cases"]) {
    check_case(c, 3);
    CHECK(c["model"] == demo.path);
    CHECK(c["model_sha256"] == digest);
    found.push_back(c["kind"].get<std::string>().substr(0, 1) + c["n_prompt"].dump() + "/" +
                    c["n_generate"].dump() + "/" + c["threads"].dump());
  }
  CHECK(found ==
        std::vector<std::string>{"p8/0/1", "p16/0/1", "g0/4/1", "p8/0/2", "p16/0/2", "g0/4/2"});
}

TEST_CASE("lq-bench: cases at a depth have their tokens alone measured") {
  const Demo demo;
  const auto run = run_expecting(
      0, "lq-bench",
      {demo.path, "-p", "8", "-n", "4", "-d", "0,200", "-t", "1", "-r", "2", "-o", "json"});
  const auto cases = Json::parse(run.out)["cases"];
  REQUIRE(cases.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) check_case(cases[i], 2, i < 2 ? 0 : 200);
  // Half way through four tokens: 3 and 203 positions.
  const auto position = cases[1]["cache_bytes_per_token"].get<std::uint64_t>() / 3;
  CHECK(position > 0);
  CHECK(cases[3]["cache_bytes_per_token"] == 203 * position);
  const auto table =
      run_expecting(0, "lq-bench", {demo.path, "-p", "8", "-n", "0", "-d", "16", "-r", "1"});
  CHECK(holds(table.out, "pp8@16"));
}

TEST_CASE("lq-bench: the type of the cache is what was asked for") {
  const Demo demo;
  for (const char* type : {"f16", "f32", "q8_0"}) {
    const auto run = run_expecting(
        0, "lq-bench",
        {demo.path, "-p", "4", "-n", "2", "-t", "1", "-r", "1", "--json", "--kv-type", type});
    const Json report = Json::parse(run.out);
    CHECK(report["cases"].size() == 2);
    for (const Json& c : report["cases"]) CHECK(c["kv_type"] == type);
  }
  const auto exact = run_expecting(
      0, "lq-bench", {demo.path, "-p", "4", "-n", "2", "-t", "1", "-r", "1", "--json", "--exact"});
  const Json report = Json::parse(exact.out);
  CHECK(report["cases"].size() == 2);
  for (const Json& c : report["cases"]) CHECK(c["exact"] == true);
}

TEST_CASE("lq-bench: the table has a row for each case and says what the columns are") {
  const Demo demo;
  const auto run = run_expecting(
      0, "lq-bench", {demo.path, demo.path, "-p", "8", "-n", "0,4", "-t", "1", "-r", "1"});
  const auto lines = lines_of(run.out);
  REQUIRE(lines.size() >= 7);
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK_MESSAGE(lines[i].size() == lines[0].size(), run.report());
    CHECK(std::count(lines[i].begin(), lines[i].end(), '|') == 10);
  }
  CHECK(holds(lines[0], "tokens/s"));
  CHECK(lines[1].find_first_not_of("|-") == std::string::npos);
  CHECK(holds(lines[2], "| pp8 "));
  CHECK(holds(lines[3], "| tg4 "));
  CHECK(holds(lines[4], "| pp8 "));
  CHECK(holds(lines[5], "| tg4 "));
  CHECK(holds(run.out, "medians of 1 runs"));
  const auto json = run_expecting(
      0, "lq-bench", {demo.path, "-p", "4", "-n", "0", "-r", "1", "--json", "--no-hash"});
  const auto report = Json::parse(json.out);
  CHECK(report["cases"].size() == 1);
  CHECK(report["cases"][0]["model_sha256"].is_null());
}

TEST_CASE("lq-bench: what it refuses") {
  const Demo demo;
  const auto said = [&](int status, std::vector<std::string> arguments) {
    const auto run = run_expecting(status, "lq-bench", arguments);
    CHECK_MESSAGE(run.out.empty(), run.report());
    return run.err;
  };
  CHECK(holds(said(2, {}), "MODEL is required"));
  CHECK(holds(said(2, {demo.path, "-p", "x"}), "'x' is not a whole number"));
  CHECK(holds(said(2, {demo.path, "-p", "8,-1"}), "'-1' is not a whole number"));
  CHECK(holds(said(2, {demo.path, "-t", "0"}), "'0' is not a whole number from 1"));
  CHECK(holds(said(2, {demo.path, "-r", "0"}), "'0' is not a whole number from 1"));
  CHECK(holds(said(2, {demo.path, "-o", "xml"}), "not one of md, json"));
  CHECK(holds(said(2, {demo.path, "--n-promt", "5"}), "did you mean '--n-prompt'?"));
  CHECK(holds(said(2, {demo.path, "-p", "0", "-n", "0"}), "nothing to measure"));
  CHECK(holds(said(3, {demo.path + "x", "-p", "8", "-n", "0"}), "x: cannot open"));
  CHECK(holds(said(3, {demo.path, demo.path + "x", "--json"}), "x: cannot open"));
  const auto broken = demo.dir.write("broken.gguf", std::string_view("GGUF and no more"));
  CHECK(holds(said(4, {broken.string(), "--json"}), "broken.gguf: "));
}

TEST_CASE("lq-bench kernels: every set's kernels of a type, checked and timed") {
  const auto run =
      run_expecting(0, "lq-bench", {"kernels", "--type", "q4_k,f16", "-r", "2", "--json"});
  const Json report = Json::parse(run.out);
  CHECK(report["schema"] == "lq.bench.kernels/1");
  CHECK(report["sets"][0]["name"] == "generic");
  std::size_t chosen = 0;
  for (const Json& set : report["sets"]) {
    chosen += set["chosen"].get<bool>() ? 1 : 0;
    CHECK((!set["chosen"].get<bool>() || set["supported"].get<bool>()));
  }
  CHECK(chosen == 1);
  std::size_t generic = 0;
  for (const Json& c : report["cases"]) {
    CAPTURE(c.dump());
    generic += c["isa"] == "generic" ? 1 : 0;
    REQUIRE(c["samples_ns"].size() == 2);
    std::vector<double> rates;
    for (const double ns : c["samples_ns"]) rates.push_back(1e9 * c["weights"].get<double>() / ns);
    check_spread(c["weights_per_second"], rates);
    const double stored = c["type"] == "F16" ? 2.0 : 144.0 / 256;
    CHECK(c["stored_bytes"].get<double>() == stored * c["weights"].get<double>());
    CHECK(c["columns"] == 2048);
    CHECK((c["operation"] == "stream-1") == (c["rows"] > 64));
    CHECK((c["operation"] == "stream-1") == (c["percent_of"] == "memory"));
  }
  CHECK(generic == 16);  // eight operations on two types
}

TEST_CASE("lq-bench kernels: products are a part of what their instructions reach alone") {
  const auto run = run_expecting(
      0, "lq-bench",
      {"kernels", "--type", "Q4_K,F16", "--op", "decode,matmul,panels-32", "-r", "3", "--json"});
  int known = 0;
  const Json report = Json::parse(run.out);
  for (const Json& c : report["cases"]) {
    CAPTURE(c.dump());
    const double peak = c["peak_operations_per_second"], share = c["percent_of_peak"];
    if (c["operation"] == "decode" || c["isa"] == "generic") {
      CHECK(peak == 0);
      continue;
    }
    CHECK(share == doctest::Approx(100 * c["operations_per_second"].get<double>() / peak));
    CHECK(share > 5);
    CHECK(share < 125);  // clocks change
    ++known;
  }
  CHECK((known > 0) == (lq::kernels::kernel_table("avx2") != nullptr));
  CHECK(holds(
      run_expecting(0, "lq-bench", {"kernels", "--type", "F16", "--op", "panels-32", "-r", "1"})
          .out,
      "% of peak"));
}

TEST_CASE("lq-bench kernels: matrices of a shape, panels from memory") {
  const auto table = run_expecting(0, "lq-bench",
                                   {"kernels", "--type", "Q4_K", "--op", "decode,stream-1", "--isa",
                                    "generic", "--shape", "96x512", "-r", "1"});
  CHECK(holds(table.out, "| Q4_K     | stream-1          | generic     |"));
  CHECK(holds(table.out, "what a plain loop reads from the same "));
  const auto report =
      Json::parse(run_expecting(0, "lq-bench",
                                {"kernels", "--type", "Q4_K", "--op", "decode,panels-1", "--shape",
                                 "96x512", "-r", "1", "--json"})
                      .out);
  for (const Json& c : report["cases"]) {
    CHECK(c["rows"] == 96);
    CHECK(c["columns"] == 512);
    CHECK(c["weights"].get<int>() % (96 * 512) == 0);
    CHECK((c["operation"] == "panels-1") == (c["panel_bytes"] > 0));
  }
  CHECK(holds(run_expecting(2, "lq-bench", {"kernels", "--shape", "64"}).err, "ROWSxCOLS"));
  CHECK(holds(run_expecting(2, "lq-bench", {"kernels", "--shape", "64x100"}).err,
              "whole blocks of 32 values"));
}

TEST_CASE("lq-bench kernels: one set, the reason for the choice, and names that do not exist") {
  const auto table =
      run_expecting(0, "lq-bench",
                    {"kernels", "--type", "Q4_0", "--op", "decode", "--isa", "generic", "-r", "1"});
  CHECK(holds(table.out, "| Q4_0     | decode            | generic     |"));
  CHECK_FALSE(holds(table.out, "encode"));
  const auto explained =
      run_expecting(0, "lq-bench", {"kernels", "--explain"}, {.env = {{"LQ_CPU_ISA", "generic"}}});
  CHECK(holds(explained.out, "generic is used: LQ_CPU_ISA names it"));
  const auto unknown = run_expecting(2, "lq-bench", {"kernels", "--isa", "mmx"});
  CHECK(holds(unknown.err, "instruction set 'mmx' is unknown"));
  CHECK(unknown.out.empty());
  CHECK(holds(run_expecting(2, "lq-bench", {"kernels", "--type", "Q8_1"}).err, "Q8_1"));
}
