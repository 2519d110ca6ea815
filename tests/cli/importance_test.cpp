// Importance as users of lq-quantize and lq-convert meet it.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/sha256.h"
#include "lib/io/mapped_file.h"
#include "lib/jobs/recipe.h"
#include "tests/support/errors.h"
#include "tests/support/expert_model.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

const std::string kText = testdata("importance/text.txt");
const std::string kMatrix = testdata("importance/demo.gguf");

std::string convert_demo(const TempDir& dir, const char* name = "lq-demo") {
  const std::string path = (dir / (std::string(name) + ".gguf")).string();
  run_expecting(0, "lq-convert",
                {testdata(std::string("models/") + name), "-o", path, "--outtype", "f16", "-q"});
  return path;
}

}  // namespace

TEST_CASE("quantizations of the demo model with importance are the reference's [slow]") {
  const TempDir dir;
  const std::string model = convert_demo(dir);
  std::istringstream lines(file_content(testdata("importance/quantize.sha256")));
  int n_files = 0;
  for (std::string digest, name; lines >> digest >> name;) {
    if (name.substr(0, 5) != "demo-") continue;
    const std::string type = name.substr(5, name.find('.') - 5);
    if (const Recipe* recipe = find_recipe(type); recipe && !has_codecs(*recipe)) continue;
    CAPTURE(name);
    const std::string out = (dir / name).string();
    // The matrix is named as it was for the reference: the name is a part of the file.
    run_expecting(0, "lq-quantize", {model, out, type, "--imatrix", "demo.gguf", "-q", "-t", "2"},
                  {.directory = testdata("importance"), .timeout = std::chrono::minutes(5)});
    CHECK(sha256_hex(MappedFile(out).bytes()) == digest);
    ++n_files;
  }
  CHECK(n_files >= 16);
}

TEST_CASE("calibrating and quantizing at once is the same as one after the other") {
  const TempDir dir;
  const std::string model = convert_demo(dir, "lq-demo-draft");
  const std::string saved = (dir / "im.gguf").string();
  const auto at_once = run_expecting(0, "lq-quantize",
                                     {model, (dir / "a.gguf").string(), "Q2_K_S", "--calibrate",
                                      kText, "-c", "64", "--chunks", "4", "--save-imatrix", saved});
  CHECK(holds(at_once.err, "entries of 4 chunks of 64 tokens"));
  run_expecting(0, "lq-quantize",
                {model, (dir / "b.gguf").string(), "Q2_K_S", "--imatrix", saved, "-q"});
  CHECK(file_content(dir / "a.gguf") == file_content(dir / "b.gguf"));
  const auto shown =
      run_expecting(0, "lq-convert", {"inspect", (dir / "a.gguf").string(), "--metadata"});
  CHECK(holds(shown.out, "quantize.imatrix.chunks_count"));
  CHECK(holds(shown.out, kText));

  // Only measured; again with more chunks, from where it was.
  const std::string other = (dir / "other.gguf").string();
  const std::vector<std::string> measure = {model, "--calibrate",    kText, "-c",
                                            "64",  "--save-imatrix", other, "-q"};
  auto two = measure, four = measure;
  two.insert(two.end(), {"--chunks", "2"});
  four.insert(four.end(), {"--chunks", "4"});
  run_expecting(0, "lq-quantize", two);
  CHECK(holds(run_expecting(3, "lq-quantize", four).err, "--force"));
  four.emplace_back("--resume");
  run_expecting(0, "lq-quantize", four);
  CHECK(file_content(other) == file_content(saved));
  CHECK(dir.names().size() == 5);
}

TEST_CASE("options of importance that make no sense are refused, and nothing is written") {
  const TempDir dir;
  const std::string model = convert_demo(dir, "lq-demo-draft");
  const std::string out = (dir / "out.gguf").string();
  const auto refused = [&](int status, std::vector<std::string> more) {
    std::vector<std::string> arguments = {model, out, "Q2_K_S"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_expecting(status, "lq-quantize", arguments).err;
  };
  CHECK(holds(refused(4, {}), "cannot be made without importance"));
  CHECK(holds(refused(2, {"--imatrix", kMatrix, "--calibrate", kText}), "exclude each other"));
  CHECK(
      holds(refused(2, {"--imatrix", kMatrix, "--include-weights", "a", "--exclude-weights", "b"}),
            "exclude each other"));
  CHECK(holds(refused(2, {"--save-imatrix", (dir / "im.gguf").string()}), "needs --calibrate"));
  CHECK(holds(refused(2, {"--calibrate", kText, "--save-imatrix", out}), "same file"));
  CHECK(holds(refused(2, {"--calibrate", kText, "--save-imatrix", model, "--force"}), "same file"));
  CHECK(holds(refused(2, {"--on-missing", "rais"}), "raise"));
  CHECK(holds(refused(3, {"--imatrix", "missing.gguf"}), "missing.gguf"));
  CHECK(holds(refused(4, {"--imatrix", model}), "imatrix.datasets is missing"));
  CHECK(holds(refused(4, {"--imatrix", kText}), "number of entries"));
  CHECK(holds(refused(3, {"--calibrate", "missing.txt"}), "missing.txt"));
  CHECK(!std::filesystem::exists(out));
  const auto raised =
      run_expecting(0, "lq-quantize", {model, out, "Q2_K_S", "--on-missing", "raise"});
  CHECK(holds(raised.err, "got a larger type"));
  const auto larger =
      run_expecting(0, "lq-quantize", {model, out, "Q4_0", "--imatrix", kMatrix, "--force"});
  CHECK(holds(larger.err, "21 of its 28 entries are of tensors that this model does not have"));
}

TEST_CASE("a plan tells what importance would change, and what is wrong with it") {
  const TempDir dir;
  write_expert_model(dir / "experts.gguf");
  write_importance(expert_importance(), dir / "im.dat", Existing::refuse);
  write_importance(expert_importance(), dir / "im.gguf", Existing::refuse);
  const auto run =
      run_expecting(0, "lq-quantize",
                    {"-n", "--json", (dir / "experts.gguf").string(), "Q2_K_S", "--imatrix",
                     (dir / "im.gguf").string(), "--on-missing", "uniform"});
  const auto json = nlohmann::json::parse(run.out);
  CHECK(json.at("warnings").size() == 3);
  CHECK(holds(run.err, "blk.1.attn_k.weight (Q2_K)"));
  CHECK(json.at("settings").at("imatrix") == (dir / "im.gguf").string());
  CHECK(json.at("tensors")[0].at("importance") == false);
  CHECK(json.at("tensors")[3].at("importance") == true);
  CHECK(holds(run.err, "3 (5) of blk.1.ffn_down_exps.weight"));
  // With the calibration still to come the plan is made as if all were there.
  run_expecting(0, "lq-quantize",
                {"-n", (dir / "experts.gguf").string(), "Q2_K_S", "--calibrate", kText});
  // A family that the engine does not run says so, before anything is written.
  const auto refused = run_expecting(4, "lq-quantize",
                                     {(dir / "experts.gguf").string(), (dir / "out.gguf").string(),
                                      "Q4_K_M", "--calibrate", kText});
  CHECK(!std::filesystem::exists(dir / "out.gguf"));
  CHECK(!refused.err.empty());
}

TEST_CASE("lq-quantize imatrix-merge adds files up") {
  const TempDir dir;
  const std::string out = (dir / "both.gguf").string(), dat = testdata("importance/demo.dat");
  const auto run =
      run_expecting(0, "lq-quantize", {"imatrix-merge", kMatrix, dat, "-o", out, "--json"});
  CHECK(file_content(out) == file_content(testdata("importance/gguf+dat.gguf")));
  const auto json = nlohmann::json::parse(run.out);
  CHECK(json.at("schema") == "lq.quantize.imatrix_merge/1");
  CHECK(json.at("chunk_count") == 70);
  CHECK(json.at("chunk_size") == 128);
  CHECK(
      holds(run_expecting(3, "lq-quantize", {"imatrix-merge", kMatrix, "-o", out}).err, "--force"));
  CHECK(holds(
      run_expecting(2, "lq-quantize", {"imatrix-merge", out, kMatrix, "-o", out, "--force"}).err,
      "same file"));
  CHECK(holds(run_expecting(2, "lq-quantize", {"imatrix-merge", kMatrix}).err, "--output"));
  ImportanceMatrix other = expert_importance();
  other.entries.at("blk.0.attn_q.weight").sums.resize(128);
  write_importance(other, dir / "experts.gguf", Existing::refuse);
  CHECK(holds(run_expecting(
                  4, "lq-quantize",
                  {"imatrix-merge", kMatrix, (dir / "experts.gguf").string(), "-o", out, "--force"})
                  .err,
              "only matrices of one model"));
  const auto old = run_expecting(
      0, "lq-quantize", {"imatrix-merge", dat, "-c", "128", "-o", (dir / "old.gguf").string()});
  CHECK(holds(old.err, "28 entries of 35 chunks of 128 tokens"));
}

TEST_CASE("lq-convert inspect shows an importance matrix") {
  const TempDir dir;
  const auto text = run_expecting(0, "lq-convert", {"inspect", kMatrix});
  CHECK(holds(text.out, "chunks   35 of 128 tokens"));
  CHECK(holds(text.out, "blk.3.ffn_down.weight"));
  CHECK(holds(text.out, "147.7"));
  write_importance(expert_importance(), dir / "experts.gguf", Existing::refuse);
  const auto run =
      run_expecting(0, "lq-convert", {"inspect", "--json", (dir / "experts.gguf").string()});
  const auto json = nlohmann::json::parse(run.out);
  CHECK(json.at("schema") == "lq.convert.inspect/1");
  CHECK(json.at("datasets")[0] == "experts.txt");
  CHECK(json.at("tensors").size() == 13);
  const auto& down = json.at("tensors")[4];
  CHECK(down.at("name") == "blk.0.ffn_down_exps.weight");
  CHECK(down.at("tokens") == nlohmann::json({100, 150, 0, 250}));
  CHECK(json.at("layers").size() == 2);
  const auto dat = run_expecting(0, "lq-convert", {"inspect", testdata("importance/demo.dat")});
  CHECK(holds(dat.out, "importance matrix (.dat)"));
}
