// lq-quantize as users run it.
#include <doctest/doctest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/base/sha256.h"
#include "lib/io/mapped_file.h"
#include "tests/support/errors.h"
#include "tests/support/parts.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

const std::string kModels = lq::test::testdata("models/");

std::string digest_of(const std::string& path) {
  const MappedFile file(path);
  return sha256_hex(file.bytes());
}

}  // namespace

TEST_CASE("quantizations of the demo model are the reference's, byte for byte") {
  const TempDir dir;
  const auto expected = digests(kModels + "SHA256SUMS");
  const std::string f16 = (dir / "lq-demo-f16.gguf").string();
  run_expecting(0, "lq-convert", {kModels + "lq-demo", "-o", f16, "--outtype", "f16", "-q"});
  const std::string prefix = "lq-demo-f16-", suffix = ".gguf";
  int n_files = 0;
  for (const auto& [file, digest] : expected) {
    const std::string& name = file;  // clang 14 captures no structured binding
    if (name.compare(0, prefix.size(), prefix) != 0) continue;
    CAPTURE(name);
    const std::string type =
        name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    const std::string threads = std::to_string(n_files % 3 + 1);
    const std::string out = (dir / name).string();
    run_expecting(0, "lq-quantize", {f16, out, type, "-q", "-t", threads});
    CHECK(digest_of(out) == digest);
    ++n_files;
  }
  CHECK(n_files == 9);
}

TEST_CASE("quantizations of a toy Llama 3 are the reference's, byte for byte") {
  const TempDir dir;
  const std::string f32 = (dir / "llama3-f32.gguf").string();
  run_expecting(0, "lq-convert", {kModels + "toys/llama3", "-o", f32, "--outtype", "f32", "-q"});
  const auto expected = digests(lq::test::testdata("golden/quantize.sha256"));
  CHECK(expected.size() == 3);
  for (const auto& [file, digest] : expected) {
    const std::string& name = file;  // clang 14 captures no structured binding
    CAPTURE(name);
    const std::string out = (dir / name).string();
    const std::string type = name.substr(name.find('-') + 1);
    run_expecting(0, "lq-quantize", {f32, out, type.substr(0, type.find('.')), "-q", "-t", "2"});
    CHECK(digest_of(out) == digest);
  }
}

TEST_CASE("what lq-quantize refuses leaves no file behind") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 16), out = (dir / "out.gguf").string();
  CHECK(holds(run_expecting(2, "lq-quantize", {model}).err, "TYPE is required"));
  CHECK(holds(run_expecting(2, "lq-quantize", {}).err, "INPUT is required"));
  CHECK(holds(run_expecting(2, "lq-quantize", {model, out, "Q4_K_Z"}).err, "'Q4_K_Z'"));
  CHECK(holds(run_expecting(4, "lq-quantize", {model, out, "IQ2_XXS", "--pure"}).err, "IQ2_XXS"));
  CHECK(holds(run_expecting(2, "lq-quantize", {model, model, "Q8_0"}).err, "same file"));
  std::filesystem::create_symlink(model, dir / "link");
  std::filesystem::create_hard_link(model, dir / "hard");
  for (const char* name : {"link", "hard"})
    CHECK(holds(
        run_expecting(2, "lq-quantize", {model, (dir / name).string(), "Q8_0", "--force"}).err,
        "same file"));
  CHECK(holds(run_expecting(3, "lq-quantize", {"missing.gguf", out, "Q8_0"}).err, "missing.gguf"));
  CHECK(holds(run_expecting(3, "lq-quantize", {model, "/dev/full", "Q8_0"}).err, "/dev/full"));
  CHECK(holds(run_expecting(2, "lq-quantize", {model, out, "Q8_0", "--tensor-type", "("}).err,
              "REGEX=TYPE"));
  CHECK(holds(run_expecting(2, "lq-quantize", {model, out, "Q4_0", "--tensor-type", "(=q8_0"}).err,
              "'('"));
  CHECK(holds(run_expecting(2, "lq-quantize", {model, out, "Q4_0", "--tensor-type", "v=q9"}).err,
              "'q9'"));
  CHECK(holds(run_expecting(5, "lq-quantize", {model, out, "Q8_0", "--mem", "2K"}).err, "memory"));
  CHECK(!std::filesystem::exists(out));
  dir.write("out.gguf", std::string_view("mine"));
  CHECK(holds(run_expecting(3, "lq-quantize", {model, out, "Q8_0"}).err, "--force"));
  CHECK(file_content(out) == "mine");
  run_expecting(0, "lq-quantize", {model, out, "Q8_0", "--force"});
  CHECK(file_content(out).substr(0, 4) == "GGUF");
  CHECK(dir.names().size() == 4);
}

TEST_CASE("a plan is shown as text and as JSON, and nothing is written") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 64);
  const auto text = run_expecting(0, "lq-quantize", {"-n", model, "q4_k_m"});
  CHECK_MESSAGE(holds(text.out, "blk.0.attn_v.weight"), text.report());
  CHECK(holds(text.out, "bits per weight  6.562"));
  const auto run = run_expecting(0, "lq-quantize", {"-n", "--json", model, "q4_k_m"});
  const auto json = nlohmann::json::parse(run.out);
  CHECK(json.at("schema") == "lq.quantize.plan/1");
  CHECK(json.at("tensors")[1].at("type") == "Q6_K");
  CHECK(json.at("tensors")[1].at("reason") == "recipe: attention values");
  CHECK(json.at("settings").at("output") == (dir / "ggml-model-Q4_K_M.gguf").string());
  CHECK(dir.names().size() == 1);
  run_expecting(0, "lq-quantize", {model, "q4_k_m"});
  CHECK(std::filesystem::file_size(dir / "ggml-model-Q4_K_M.gguf") == json.at("total_bytes"));
}

TEST_CASE("fallbacks can be limited") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 16, DType::F32, 96);
  const std::string out = (dir / "out.gguf").string();
  const auto refused =
      run_expecting(6, "lq-quantize", {model, out, "Q4_K_S", "--max-fallback", "50"});
  CHECK(holds(refused.err, "nothing was written"));
  CHECK(!std::filesystem::exists(out));
  CHECK(holds(run_expecting(0, "lq-quantize", {model, out, "Q4_K_S"}).err, "warning: 1 of 2"));
}

TEST_CASE("a report says how far the stored values are from the model's") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 64), report = (dir / "report.json").string();
  run_expecting(0, "lq-quantize", {model, (dir / "out.gguf").string(), "Q8_0", "--report", report});
  const auto json = nlohmann::json::parse(file_content(report));
  CHECK(json.at("schema") == "lq.quantize.report/1");
  CHECK(json.at("tensors")[0].at("rmse").is_null());
  // Values in [-1, 1) on a grid of 1/127: the error is spread evenly over a step.
  CHECK(json.at("tensors")[1].at("rmse").get<double>() ==
        doctest::Approx(1.0 / 127 / std::sqrt(12.0)).epsilon(0.05));
}

TEST_CASE("killed or interrupted, lq-quantize leaves nothing") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 16384, DType::F16);
  const std::string out = (dir / "out.gguf").string();
  run_expecting(0, "lq-quantize", {model, out, "Q4_K_M"});
  const std::string whole = file_content(out);
  std::filesystem::remove(out);
  int n_stopped = 0;
  for (const int signal : {SIGKILL, SIGINT, SIGTERM})
    for (const int ms : {20, 80, 200}) {
      const auto run = run_tool("lq-quantize", {model, out, "Q4_K_M", "-t", "1"},
                                {.signal = signal, .signal_after = std::chrono::milliseconds(ms)});
      if (std::filesystem::exists(out)) {  // it was faster than the signal
        CHECK(file_content(out) == whole);
        std::filesystem::remove(out);
        continue;
      }
      ++n_stopped;
      CHECK_MESSAGE(run.status == (signal == SIGKILL ? 128 + SIGKILL : 130), run.report());
      CHECK(dir.names() == std::vector<std::string>{"model.gguf"});
    }
  CHECK(n_stopped > 0);
}

TEST_CASE("memory does not grow with the model [slow]") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 65536);  // 256 MiB
  const auto run =
      run_expecting(0, "lq-quantize", {model, (dir / "out.gguf").string(), "Q8_0", "-t", "2"});
  CHECK_MESSAGE(run.peak_memory_bytes < (64u << 20), run.report());
}
