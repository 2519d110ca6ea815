// lq-run --tokenize and --logits: what scripts and people who compare implementations use.
#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/format/gguf_writer.h"
#include "lib/infer/decoder.h"
#include "lib/io/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/models.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"
#include "tests/support/toys.h"
#include "tests/support/vocabularies.h"

using namespace lq;
using namespace lq::test;

namespace {

const std::string kTexts = lq::test::testdata("tokenizers/strings.jsonl.zst");

/// Lines that are equal as JSON.
std::size_t n_equal(const std::string& out, const std::vector<Json>& expected) {
  std::istringstream lines(out);
  std::size_t equal = 0, at = 0;
  for (std::string line; std::getline(lines, line) && at < expected.size(); ++at)
    equal += Json::parse(line) == expected[at];
  return equal;
}

struct Vocabulary {
  TempDir dir;
  std::string path = (dir / "vocab.gguf").string();
};

struct DemoVocabulary : Vocabulary {
  DemoVocabulary() {
    run_expecting(0, "lq-convert",
                  {checkpoint("lq-demo").string(), "--vocab-only", "-o", path, "-q"});
  }
};

}  // namespace

TEST_CASE("lq-convert --vocab-only and lq-run --tokenize give the ids of the tokenizers package") {
  const DemoVocabulary demo;
  auto expected = read_json_lines("lq-demo.ids.zst");
  REQUIRE(expected.size() == 2000);
  const auto run = run_expecting(0, "lq-run", {demo.path, "--tokenize", kTexts});
  const auto equal = n_equal(run.out, expected);
  for (const Json& line : read_json_lines("lq-demo.off.zst"))
    expected[line[0].get<std::size_t>()] = line[1];
  const auto off =
      run_expecting(0, "lq-run", {demo.path, "--tokenize", kTexts, "--no-parse-special"});
  const auto equal_off = n_equal(off.out, expected);
  std::printf("lq-demo: %zu/2000, without special tokens %zu/2000 texts equal\n", equal, equal_off);
  CHECK(equal == 2000);
  CHECK(equal_off == 2000);
}

TEST_CASE("lq-run --tokenize gives the ids of the tokenizers and sentencepiece packages") {
  struct Row {
    const char* name;
    bool sentencepiece;  ///< control tokens are not recognised
  };
  for (const Row row : {Row{"gpt2", false}, Row{"llama2-spm", true}, Row{"llama3.2-bpe", false},
                        Row{"mistral-v3-spm", true}}) {
    const Vocabulary vocabulary;
    const Metadata metadata = read_vocabulary(row.name);
    GgufWriter(vocabulary.path, metadata, {}, Existing::refuse).finish();
    std::vector<std::string> arguments = {vocabulary.path, "--tokenize", kTexts};
    if (row.sentencepiece) arguments.push_back("--no-parse-special");
    const auto run = run_expecting(0, "lq-run", arguments);
    const auto equal = n_equal(run.out, read_json_lines(std::string(row.name) + ".ids.zst"));
    std::printf("%s: %zu/2000 texts equal\n", row.name, equal);
    CHECK(equal == 2000);
  }
}

TEST_CASE("lq-run --tokenize: standard input, added tokens, bad lines") {
  const DemoVocabulary demo;
  const auto ids = [&](const std::string& input, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {demo.path, "--tokenize", "-"});
    return run_expecting(0, "lq-run", more, {.input = input}).out;
  };
  CHECK(ids("\"\"\n\n\"a\"").starts_with("[]\n["));
  CHECK(ids("").empty());
  CHECK(ids("\"<|im_end|>\"\n") != ids("\"<|im_end|>\"\n", {"--no-parse-special"}));
  const TempDir dir;
  const auto spm = (dir / "spm.gguf").string();
  GgufWriter(spm, read_vocabulary("llama2-spm"), {}, Existing::refuse).finish();
  const auto plain =
      Json::parse(run_expecting(0, "lq-run", {spm, "--tokenize", "-"}, {.input = "\"Hi\""}).out);
  const auto added = Json::parse(
      run_expecting(0, "lq-run", {spm, "--tokenize", "-", "--add-special"}, {.input = "\"Hi\""})
          .out);
  REQUIRE(added.size() == plain.size() + 1);
  CHECK(added[0] == 1);

  const auto said = [&](const std::string& input) {
    return run_expecting(4, "lq-run", {demo.path, "--tokenize", "-"}, {.input = input}).err;
  };
  CHECK(holds(said("\"a\"\n5\n"), "standard input:2: not a JSON string"));
  CHECK(holds(said("\"a\"\n\n\"b\n"), "standard input:3: "));
  const auto file = dir.write("bad.jsonl", "[1]\n").string();
  const auto named = run_expecting(4, "lq-run", {demo.path, "--tokenize", file});
  CHECK(named.err == "lq-run: " + file + ":1: not a JSON string\n");
  const auto missing = run_expecting(3, "lq-run", {demo.path, "--tokenize", file + "x"});
  CHECK(holds(missing.err, "bad.jsonlx"));
  const auto no_weights = run_expecting(4, "lq-run", {demo.path, "a prompt"});
  CHECK(holds(no_weights.err, "token_embd.weight is missing"));
}

TEST_CASE("lq-run --logits: the positions that were asked for, as the library computes them") {
  const LoadedModel model("llama3", DType::F32);
  const auto file = model.path().string();
  const auto logits = [&](const std::string& request, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {file, "--logits", "-", "-t", "1"});
    return Json::parse(run_expecting(0, "lq-run", more, {.input = request}).out);
  };
  const auto json = logits(R"({"tokens": [17, 49, 83], "positions": [0, 2]})");
  CHECK(json["schema"] == "lq.run.logits/1");
  CHECK(json["lq_version"].is_string());
  CHECK(json["tokens"] == Json({17, 49, 83}));
  REQUIRE(json["logits"].size() == 2);
  const auto n = static_cast<std::size_t>(model->weights().n_vocab);
  const auto all = all_logits(*model, std::vector<TokenId>{17, 49, 83}, 3);
  for (const std::size_t position : {0u, 2u}) {
    const std::vector<float> row = json["logits"][std::to_string(position)];
    REQUIRE(row.size() == n);
    CHECK(std::equal(row.begin(), row.end(), all.begin() + static_cast<long>(position * n)));
  }
  CHECK(logits("[17, 49, 83]")["logits"]["2"] == json["logits"]["2"]);
  for (const char* type : {"f16", "q8_0"})
    CHECK(logits("[17, 49, 83]", {"--kv-type", type})["logits"]["2"] != json["logits"]["2"]);

  const auto said = [&](const std::string& request) {
    const auto run = run_expecting(4, "lq-run", {file, "--logits", "-"}, {.input = request});
    CHECK(run.out.empty());
    return run.err;
  };
  CHECK(holds(said("[1, 304]"), "\"tokens\" holds 304; expected integers from 0 to 303"));
  CHECK(holds(said("[-1]"), "holds -1"));
  CHECK(holds(said("[1.5]"), "holds 1.5"));
  CHECK(holds(said("[]"), "\"tokens\" is empty"));
  CHECK(holds(said("{}"), "no \"tokens\""));
  CHECK(holds(said("7"), "not a list"));
  CHECK(holds(said("[1"), "standard input: line 1"));
  CHECK(holds(said(R"({"tokens": [1], "positions": [1]})"), "\"positions\" holds 1"));
  CHECK(holds(said(R"({"tokens": [1], "positions": "all"})"), "\"positions\" is not a list"));
}
