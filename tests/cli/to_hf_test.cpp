// GGUF files back to folders, and to checkpoints for GPU engines, as users do it.
#include <doctest/doctest.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "lib/base/sha256.h"
#include "lib/format/hf_directory.h"
#include "lib/io/text_file.h"
#include "lib/jobs/plan_source.h"
#include "tests/support/errors.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"
#include "tests/support/toys.h"

using namespace lq;
using namespace lq::test;

namespace {

std::map<std::string, std::string> digests_in(const std::filesystem::path& folder) {
  const HfDirectory source(folder);
  std::map<std::string, std::string> found;
  for (std::size_t i = 0; i < source.tensors().size(); ++i)
    found[source.tensors()[i].name] =
        std::string(source.stored_as(i)) + sha256_hex(source.raw_data(i));
  return found;
}

/// The test data's checkpoint as a GGUF file.
std::string gguf_of(const TempDir& dir, const std::string& name, const std::string& type) {
  const auto file = (dir / (name + "-" + type + ".gguf")).string();
  run_expecting(0, "lq-convert", {checkpoint(name).string(), "--outtype", type, "-o", file, "-q"});
  return file;
}

/// A tensor of a model that can be run, by GGUF's name.
std::vector<float> values_of_tensor(const TensorSource& source, const std::string& name) {
  const auto index = source.find(name);
  REQUIRE(index);
  const TensorInfo& tensor = source.tensors()[*index];
  std::vector<float> values(tensor.elements());
  traits(tensor.type).decode(source.data(*index).data(), values.data(), values.size());
  return values;
}

}  // namespace

TEST_CASE("lq-convert to-hf writes a folder, refuses to replace it, and replaces it with --force") {
  const TempDir dir;
  const auto gguf = gguf_of(dir, "llama3", "bf16"), out = (dir / "out").string();
  CHECK(holds(run_expecting(0, "lq-convert", {"to-hf", gguf, "-o", out, "-n"}).out,
              "model.layers.1.mlp.up_proj.weight"));
  CHECK(dir.names().size() == 1);
  const auto run = run_expecting(0, "lq-convert", {"to-hf", gguf, "-o", out, "--json"});
  const auto json = Json::parse(run.out);
  CHECK(json["schema"] == "lq.convert.to-hf/1");
  CHECK(json["tensors"].size() == 21);
  CHECK(json["written"] == true);
  CHECK(digests_in(out) == digests_in(checkpoint("llama3")));
  for (const auto& name : json["other_files"])
    CHECK(std::filesystem::exists(dir / "out" / name.get<std::string>()));
  CHECK(holds(file_content(dir / "out/README.md"), "license: \"llama3\""));
  CHECK(Json::parse(file_content(dir / "out/generation_config.json"))["temperature"] == 0.6);
  CHECK(holds(run_expecting(3, "lq-convert", {"to-hf", gguf, "-o", out}).err, "--force"));
  run_expecting(0, "lq-convert",
                {"to-hf", gguf, "-o", out, "--force", "--max-shard-size", "600K", "-q"});
  CHECK(std::filesystem::exists(dir / "out/model.safetensors.index.json"));
  CHECK(digests_in(out) == digests_in(checkpoint("llama3")));
  CHECK(dir.names().size() == 2);
}

TEST_CASE("what lq-convert to-hf refuses leaves nothing behind, and no input is lost") {
  const TempDir dir;
  const auto gguf = gguf_of(dir, "mistral", "bf16"), out = (dir / "out").string();
  const auto vocabulary = (dir / "vocabulary.gguf").string();
  run_expecting(0, "lq-convert",
                {checkpoint("mistral").string(), "--vocab-only", "-o", vocabulary, "-q"});
  const auto refused = [&](int status, std::vector<std::string> arguments, const char* why) {
    arguments.insert(arguments.begin(), "to-hf");
    const auto run = run_expecting(status, "lq-convert", arguments);
    CHECK_MESSAGE(holds(run.err, why), run.report());
    CHECK(dir.names().size() == 2);
  };
  refused(2, {gguf}, "--output");
  refused(2, {gguf, "-o", out, "--outtype", "q8_0"}, "bf16");
  refused(2, {checkpoint("mistral").string(), "-o", out}, "is a folder");
  refused(3, {out, "-o", out}, "no such file");
  refused(3, {gguf, "-o", (dir / "no/out").string()}, "does not exist");
  refused(4, {vocabulary, "-o", out}, "only a vocabulary");
  refused(4, {checkpoint("mistral").string() + "/config.json", "-o", out}, "no GGUF file");
  // A folder with the input in it, although it looks like a model's.
  dir.write("config.json", "{}");
  const auto run =
      run_expecting(2, "lq-convert", {"to-hf", gguf, "-o", dir.path().string(), "--force"});
  CHECK(holds(run.err, "the same folder"));
  CHECK(std::filesystem::exists(gguf));
}

TEST_CASE("lq-convert to-hf that is interrupted leaves nothing") {
  const TempDir dir;
  const auto gguf = gguf_of(dir, "lq-demo", "f32");
  for (const int after : {1, 5, 9, 14}) {
    const auto run = run_tool("lq-convert", {"to-hf", gguf, "-o", (dir / "out").string(), "-q"},
                              {.signal = SIGINT, .signal_after = std::chrono::milliseconds(after)});
    const bool done = run.status == 0;
    CHECK_MESSAGE((done || run.status == 130 || run.status == 128 + SIGINT), run.report());
    CHECK(std::filesystem::exists(dir / "out") == done);
    CHECK(!std::filesystem::exists(dir / "out.lq-partial"));
    std::filesystem::remove_all(dir / "out");
  }
}

TEST_CASE("lq-convert to-hf multiplies NVFP4 matrices with the factors beside them") {
  for (const char* name : {"llama3", "lq-demo-draft"}) {
    CAPTURE(std::string(name));
    const TempDir dir;
    const auto folder = (dir / "folder").string(), gguf = (dir / "model.gguf").string();
    const auto back = (dir / "back").string();
    run_expecting(0, "lq-quantize",
                  {checkpoint(name).string(), folder, "NVFP4", "--calibrate",
                   testdata("importance/text.txt"), "-c", "64", "-q"});
    run_expecting(0, "lq-convert", {folder, "-o", gguf, "-q"});
    const auto run =
        run_expecting(0, "lq-convert", {"to-hf", gguf, "-o", back, "--outtype", "f32"});
    CHECK(holds(run.err, "scales of activations ("));
    CHECK(holds(run.err, "quantized before (NVFP4)"));
    Monitor nobody;
    const auto stored = open_runnable(folder, 1, nobody), restored = open_runnable(back, 1, nobody);
    REQUIRE(stored->tensors().size() == restored->tensors().size());
    std::size_t n_checked = 0;
    for (std::size_t i = 0; i < stored->tensors().size(); ++i) {
      const TensorInfo& tensor = stored->tensors()[i];
      if (tensor.type != DType::FP4_16) continue;
      CAPTURE(tensor.name);
      const auto expected = values_of_tensor(*stored, tensor.name),
                 got = values_of_tensor(*restored, tensor.name);
      // A product with the factor there, a quotient by its reciprocal here.
      bool same = expected.size() == got.size();
      for (std::size_t j = 0; same && j < got.size(); ++j)
        same = std::fabs(got[j] - expected[j]) <= 3e-7f * std::fabs(expected[j]);
      CHECK(same);
      ++n_checked;
    }
    CHECK(n_checked >= 7);
  }
}

TEST_CASE("lq-quantize measures the activations of a GGUF file as those of its folder") {
  const TempDir dir;
  const std::string text = testdata("importance/text.txt");
  for (const char* name : {"llama3", "lq-demo-draft"}) {
    const auto bf16 = gguf_of(dir, name, "bf16"), q8 = gguf_of(dir, name, "q8_0");
    for (const char* scheme : {"NVFP4", "FP8_STATIC", "W8A8_STATIC"}) {
      CAPTURE(std::string(name));
      CAPTURE(std::string(scheme));
      const auto quantized = [&](const std::string& input) {
        const auto out = (dir / "out").string();
        run_expecting(0, "lq-quantize",
                      {input, out, scheme, "--calibrate", text, "-c", "64", "-q", "--force"});
        return digests_in(out);
      };
      const auto expected = quantized(checkpoint(name).string());
      CHECK(quantized(bf16) == expected);
      const auto of_quantized = quantized(q8);
      CHECK(of_quantized.size() == expected.size());
      CHECK(of_quantized != expected);
    }
  }
}

TEST_CASE("lq-quantize of a GGUF file makes the checkpoint that it makes of the folder") {
  const TempDir dir;
  for (const char* name : {"llama3", "lq-demo-draft"}) {
    const auto bf16 = gguf_of(dir, name, "bf16"), f32 = gguf_of(dir, name, "f32");
    const auto f16 = gguf_of(dir, name, "f16"), halves = (dir / "halves").string();
    run_expecting(0, "lq-convert", {"to-hf", f16, "-o", halves, "-q", "--force"});
    for (const char* scheme : {"W4A16", "FP8_DYNAMIC", "NF4"}) {
      CAPTURE(std::string(name));
      CAPTURE(std::string(scheme));
      const auto quantized = [&](const std::string& input, std::vector<std::string> more = {}) {
        const auto out = (dir / "out").string();
        more.insert(more.begin(), {input, out, scheme, "-q", "--force"});
        run_expecting(0, "lq-quantize", more);
        return digests_in(out);
      };
      const auto expected = quantized(checkpoint(name).string());
      CHECK(quantized(bf16) == expected);
      CHECK(quantized(f32, {"--source-dtype", "bf16"}) == expected);
      CHECK(quantized(f16) == quantized(halves));
      const auto config = Json::parse(file_content(dir / "out/config.json"));
      CHECK(config.contains("quantization_config"));
      CHECK(config["torch_dtype"] == "float16");
    }
  }
  const auto folder = run_expecting(
      2, "lq-quantize",
      {checkpoint("llama3").string(), (dir / "x").string(), "W4A16", "--source-dtype", "bf16"});
  CHECK(holds(folder.err, "only a GGUF file's"));
}

TEST_CASE("lq-quantize makes checkpoints of quantized files, and says that something was lost") {
  const TempDir dir;
  const auto q8 = gguf_of(dir, "llama3", "q8_0"), out = (dir / "out").string();
  const auto run = run_expecting(0, "lq-quantize", {q8, out, "W4A16"});
  CHECK(holds(run.err, "quantized before (Q8_0)"));
  CHECK(digests_in(out).contains("model.layers.0.mlp.up_proj.weight_packed"));
}

TEST_CASE("transformers sees the same model in the folder that came back") {
  const TempDir dir;
  const auto texts = dir.write("texts.jsonl", read_text(testdata("tokenizers/strings.jsonl.zst")));
  for (const char* name : {"llama3", "mistral", "qwen3", "smollm3", "lq-demo"}) {
    const auto gguf = gguf_of(dir, name, "bf16"),
               out = (dir / (std::string(name) + "-hf")).string();
    run_expecting(0, "lq-convert", {"to-hf", gguf, "-o", out, "-q"});
    const auto run = run_shell("\"${LQ_TEST_PYTHON:-python3}\" " + testdata("../tests/support") +
                                   "/same_model.py " + checkpoint(name).string() + " " + out + " " +
                                   texts.string(),
                               {.timeout = std::chrono::minutes(4)});
    if (run.status == 77 || run.status == 127) {
      MESSAGE("skipped: no transformers package for python3 (LQ_TEST_PYTHON names another)");
      return;
    }
    CHECK_MESSAGE(run.status == 0, run.report());
    CHECK(holds(run.out, "same"));
  }
}
