// lq-convert as users run it.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/errors.h"
#include "tests/support/run_tool.h"
#include "tests/support/toys.h"

using namespace lq;
using namespace lq::test;

TEST_CASE("lq-convert writes, refuses to overwrite, and overwrites with --force") {
  const TempDir dir;
  const auto model = checkpoint("mistral").string(), out = (dir / "m-{ftype}.gguf").string();
  run_expecting(0, "lq-convert", {model, "--outtype", "Q8_0", "-o", out});
  CHECK(dir.names() == std::vector<std::string>{"m-q8_0.gguf"});
  CHECK(holds(run_expecting(3, "lq-convert", {model, "--outtype", "q8_0", "-o", out}).err,
              "--force"));
  const auto run = run_expecting(
      0, "lq-convert", {model, "--outtype", "q8_0", "--outfile", out, "--force", "--json"});
  const auto json = Json::parse(run.out);
  CHECK(json["tensors"] == 21);
  CHECK(json["bytes"] == std::filesystem::file_size(dir / "m-q8_0.gguf"));
}

TEST_CASE("without a name the file gets the conventional one in the model's folder") {
  const CheckpointCopy copy("mistral");
  run_expecting(0, "lq-convert", {copy.path().string(), "--outtype", "f16"});
  CHECK(std::filesystem::exists(copy / "Mistral-127K-F16.gguf"));
  run_expecting(0, "lq-convert", {copy.path().string(), "--vocab-only"});
  CHECK(std::filesystem::exists(copy / "Mistral-vocab.gguf"));
}

TEST_CASE("what lq-convert refuses leaves no file behind") {
  const TempDir dir;
  const auto out = (dir / "out.gguf").string(), model = checkpoint("mistral").string();
  CHECK(holds(run_expecting(2, "lq-convert", {}).err, "MODEL is required"));
  CHECK(holds(run_expecting(2, "lq-convert", {model, "--outtype", "q9"}).err, "q8_0"));
  CHECK(holds(run_expecting(3, "lq-convert", {"missing", "-o", out}).err, "missing"));
  CHECK(holds(run_expecting(4, "lq-convert", {dir.path().string(), "-o", out}).err, "config.json"));
  const CheckpointCopy broken("mistral");
  broken.change("config.json", [](Json& c) { c["hidden_size"] = "64"; });
  const auto run = run_expecting(4, "lq-convert", {broken.path().string(), "-o", out, "--json"});
  CHECK(run.out.empty());
  CHECK(Json::parse(run.err)["status"] == 4);
  const auto weights = (broken / "model.safetensors").string();
  broken.change("config.json", [](Json& c) { c["hidden_size"] = 64; });
  CHECK(
      holds(run_expecting(2, "lq-convert", {broken.path().string(), "-o", weights, "--force"}).err,
            "same file"));
  CHECK(dir.names().empty());
}

TEST_CASE("lq-convert --dry-run, --list and inspect print results and write nothing") {
  const TempDir dir;
  const auto model = checkpoint("llama3").string();
  const auto out = (dir / "out.gguf").string();
  const auto plan = run_expecting(0, "lq-convert", {model, "-o", out, "--dry-run", "--json"});
  const auto json = Json::parse(plan.out);
  CHECK(json["schema"] == "lq.convert.plan/1");
  CHECK(json["tensors"].size() == 22);
  CHECK(json["tensors"][0]["name"] == "rope_freqs.weight");
  CHECK(json["total_bytes"] == 2552544);
  CHECK(holds(run_expecting(0, "lq-convert", {model, "-o", out, "-n"}).out, "rope_freqs.weight"));
  CHECK(dir.names().empty());
  CHECK(holds(run_expecting(0, "lq-convert", {"--list"}).out, "LlamaForCausalLM"));
  const auto inspect = run_expecting(0, "lq-convert", {"inspect", model, "--json"});
  CHECK(Json::parse(inspect.out)["schema"] == "lq.convert.inspect/1");
}
