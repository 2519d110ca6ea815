// Keys, types, layers and parts that the user chooses: the files have to be the reference's.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#include "lib/base/sha256.h"
#include "lib/format/gguf_reader.h"
#include "lib/io/mapped_file.h"
#include "tests/support/errors.h"
#include "tests/support/parts.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

struct Choice {
  const char* name;
  bool from_parts;
  const char* type;
  std::vector<std::string> options;
};

const Choice kCases[] = {
    {"overrides",
     false,
     "Q4_K_S",
     {"--override-kv", "qwen3.context_length=int:4096", "--override-kv", "my.key=str:hello",
      "--override-kv", "qwen3.rope.freq_base=float:1234.5", "--override-kv", "my.flag=bool:true",
      "--override-kv", "my.key=str:again"}},
    {"file-type", false, "Q8_0", {"--override-kv", "general.file_type=int:2"}},
    {"type-file", false, "Q4_K_M", {"--tensor-type-file", "types.txt"}},
    {"last-layers",
     false,
     "Q3_K_M",
     {"--prune-layers", "3,2", "--override-kv", "qwen3.context_length=int:17"}},
    {"first-layers", false, "Q8_0", {"--prune-layers", "1"}},
    {"merged", true, "Q4_K_M", {}},
    {"parts", true, "Q4_K_M", {"--keep-split", "--override-kv", "a.b=int:3"}},
    {"fewer-parts", true, "Q2_K", {"--keep-split", "--prune-layers", "3"}},
    {"copied-parts", true, "COPY", {"--keep-split"}},
    {"one-part", false, "Q5_K_M", {"--keep-split"}},
};

std::string digest_of(const std::filesystem::path& path) {
  const MappedFile file(path);
  return sha256_hex(file.bytes());
}

std::string demo_model(const TempDir& dir) {
  const std::string path = (dir / "demo-f16.gguf").string();
  run_expecting(0, "lq-convert",
                {testdata("models/lq-demo"), "-o", path, "--outtype", "f16", "-q"});
  return path;
}

std::vector<std::string> command(const Choice& one, const std::string& model,
                                 const std::string& out) {
  std::vector<std::string> arguments = {model, out, one.type, "-q", "-t", "2"};
  arguments.insert(arguments.end(), one.options.begin(), one.options.end());
  return arguments;
}

}  // namespace

TEST_CASE("what the user chooses gives the reference's files, byte for byte") {
  const TempDir dir, work;
  const std::string whole = demo_model(work);
  const auto parts = write_parts(whole, work / "parts", {0, 20, 26});
  dir.write("types.txt", std::string_view("attn_v=q8_0\nFFN_down=Q5_1 blk\\.0\\.=q6_k\n"));
  for (const Choice& one : kCases) {
    CAPTURE(one.name);
    const std::string out = (dir / (std::string(one.name) + ".gguf")).string();
    run_expecting(0, "lq-quantize", command(one, one.from_parts ? parts[0].string() : whole, out),
                  {.directory = dir.path().string()});
  }
  std::istringstream lines(file_content(testdata("golden/quantize_choices.sha256")));
  int n_files = 0;
  for (std::string digest, name; lines >> digest >> name; ++n_files) {
    CAPTURE(name);
    CHECK(digest_of(dir / name) == digest);
  }
  CHECK(n_files == 16);
  CHECK(dir.names().size() == 17);
}

TEST_CASE("shares of the parts are the whole run's files") {
  const TempDir dir;
  const auto parts = write_parts(demo_model(dir), dir / "in", {10, 1, 20, 15});
  const std::string whole = (dir / "whole.gguf").string(), some = (dir / "some.gguf").string();
  run_expecting(0, "lq-quantize", {parts[0], whole, "Q4_K_M", "--keep-split", "-q"});
  run_expecting(0, "lq-quantize", {parts[2], some, "Q4_K_M", "--keep-split", "--part", "2/3"});
  CHECK(std::filesystem::exists(dir / "some-00002-of-00004.gguf"));
  CHECK(!std::filesystem::exists(dir / "some-00001-of-00004.gguf"));
  for (const char* share : {"1/3", "3/3"})
    run_expecting(0, "lq-quantize", {parts[0], some, "Q4_K_M", "--keep-split", "--part", share});
  for (const char* part : {"1", "2", "3", "4"}) {
    const std::string end = "-0000" + std::string(part) + "-of-00004.gguf";
    CHECK(digest_of(dir / ("some" + end)) == digest_of(dir / ("whole" + end)));
  }
  const GgufReader result(dir / "some-00003-of-00004.gguf");
  CHECK(result.tensors().size() == 46);
}

TEST_CASE("parts that do not belong together are refused in one line") {
  const TempDir dir;
  const std::string whole = demo_model(dir), out = (dir / "out.gguf").string();
  const auto refused = [&](const std::filesystem::path& part, int status, const char* why) {
    const auto run = run_expecting(status, "lq-quantize", {part.string(), out, "Q8_0"});
    CHECK_MESSAGE(holds(run.err, why), run.report());
    CHECK(std::count(run.err.begin(), run.err.end(), '\n') == 1);
    CHECK(!std::filesystem::exists(out));
  };
  const auto good = write_parts(whole, dir / "a", {10, 20, 16});
  const auto other = write_parts(whole, dir / "b", {12, 20, 14});
  std::filesystem::copy_file(other[1], good[1], std::filesystem::copy_options::overwrite_existing);
  refused(good[0], 4, "appears twice");
  std::filesystem::copy_file(good[0], good[1], std::filesystem::copy_options::overwrite_existing);
  refused(good[0], 4, "says that it is part 1 of 3; expected part 2 of 3");
  std::filesystem::copy_file(whole, good[1], std::filesystem::copy_options::overwrite_existing);
  refused(good[0], 4, "is not a part of a model");
  std::filesystem::remove(good[1]);
  refused(good[0], 3, "part 2 of 3 of the model is missing");
  refused(good[2], 3, "part 2 of 3 of the model is missing");
  std::filesystem::rename(other[0], dir / "renamed.gguf");
  refused(dir / "renamed.gguf", 4, "its name does not tell");
}

TEST_CASE("absurd and contradictory choices are refused in one line, and nothing is written") {
  const TempDir dir, empty;
  const std::string model = demo_model(dir), out = (empty / "out.gguf").string();
  struct Refusal {
    std::vector<std::string> options;
    const char* why;
  };
  const std::string long_text(128, 'x');
  const Refusal refusals[] = {
      {{"--override-kv", "a"}, "is not of the form KEY=TYPE:VALUE"},
      {{"--override-kv", "a=int:"}, "is not a whole number"},
      {{"--override-kv", "a=int:12x"}, "is not a whole number"},
      {{"--override-kv", "a=int:-1"}, "does not fit"},
      {{"--override-kv", "a=int:4294967296"}, "does not fit"},
      {{"--override-kv", "a=float:nan"}, "not finite"},
      {{"--override-kv", "a=float:1e39"}, "not finite"},
      {{"--override-kv", "a=bool:yes"}, "neither true nor false"},
      {{"--override-kv", "a=u8:1"}, "unknown type 'u8'"},
      {{"--override-kv", "=int:1"}, "the key is empty"},
      {{"--override-kv", "a b=int:1"}, "no spaces"},
      {{"--override-kv", "a=str:" + long_text}, "at most 127"},
      {{"--override-kv", long_text + "=int:1"}, "at most 127"},
      {{"--override-kv", "split.count=int:7"}, "cannot be chosen"},
      {{"--override-kv", "general.alignment=int:3"}, "cannot be chosen"},
      {{"--override-kv", "tokenizer.ggml.tokens=str:x"}, "is a list"},
      {{"--override-kv", "qwen3.block_count=str:x"}, "is a whole number"},
      {{"--prune-layers", "1,x"}, "'x' is not the number of a layer"},
      {{"--prune-layers", "4"}, "the model has layers 0 to 3"},
      {{"--prune-layers", "0,1,2,3"}, "no layer would be left"},
      {{"--leave-output-tensor", "--output-tensor-type", "Q8_0"}, "contradict each other"},
      {{"--part", "1/2"}, "--keep-split"},
      {{"--keep-split", "--part", "0/2"}, "K from 1 to N"},
      {{"--keep-split", "--part", "3/2"}, "K from 1 to N"},
      {{"--keep-split", "--part", "1/2"}, "cannot be shared by 2"},
      {{"--dry-run", "--report", "x.json"}, "writes nothing"},
      {{"--tensor-type", "[a=q8_0"}, "pattern '[a'"},
      {{"--stdout"}, "because they are mapped"},
      {{"--stdin"}, "because they are mapped"},
  };
  for (const Refusal& one : refusals) {
    std::vector<std::string> arguments = {model, out, "Q4_K_M"};
    arguments.insert(arguments.end(), one.options.begin(), one.options.end());
    const auto run = run_expecting(2, "lq-quantize", arguments);
    CHECK_MESSAGE(holds(run.err, one.why), run.report());
    CHECK(empty.names().empty());
  }
  CHECK(holds(run_expecting(2, "lq-quantize", {"-", out, "Q8_0"}).err, "mapped"));
  CHECK(holds(run_expecting(2, "lq-quantize", {model, "-", "Q8_0"}).err, "mapped"));
  CHECK(holds(run_expecting(2, "lq-quantize", {model, out, "COPY", "--pure"}).err, "contradict"));
  const auto types = dir.write("types.txt", std::string_view("attn_v=q8_0 attn_k"));
  CHECK(holds(
      run_expecting(2, "lq-quantize", {model, out, "Q4_K_M", "--tensor-type-file", types.string()})
          .err,
      "types.txt: 'attn_k' is not of the form"));
  CHECK(holds(
      run_expecting(0, "lq-quantize", {model, out, "Q8_0", "--tensor-type", "nothing=q4_0"}).err,
      "'nothing' decides on no tensor"));
}
