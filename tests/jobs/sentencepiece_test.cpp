// Vocabularies trained on the spot with the sentencepiece package, converted by us: pieces, scores
// and token ids have to be the package's.
#include <doctest/doctest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/io/text_file.h"
#include "lib/jobs/convert.h"
#include "lib/jobs/restore_tokenizer.h"
#include "lib/text/tokenizer.h"
#include "tests/support/places.h"
#include "tests/support/temp_dir.h"

namespace {

using namespace lq;

const std::string kData = lq::test::testdata("");

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

/// 2000 awkward strings.
std::vector<std::string> strings() {
  std::vector<std::string> result;
  for (const std::string& line : lines_of(read_text(kData + "tokenizers/strings.jsonl.zst")))
    result.push_back(Json::parse(line).get<std::string>());
  return result;
}

/// Path of a model trained on the text of the quiz with further trainer options.
std::filesystem::path train(const test::TempDir& dir, const std::string& options) {
  std::string text;
  for (const std::string& line : lines_of(read_text(kData + "models/quiz.jsonl"))) {
    const Json json = Json::parse(line);
    text += json["prompt"].get<std::string>() + "\n" + json["answer"].get<std::string>() + "\n";
  }
  const auto input = dir.write("text.txt", text);
  const std::string prefix = (dir / "tokenizer").string();
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      "--input=" + input.string() + " --model_prefix=" + prefix +
      " --model_type=bpe --vocab_size=700 --byte_fallback=true --character_coverage=0.99"
      " --normalization_rule_name=identity --minloglevel=2 --num_threads=1 " +
      options);
  REQUIRE_MESSAGE(status.ok(), status.ToString());
  return prefix + ".model";
}

}  // namespace

TEST_CASE("SentencePiece models: pieces, scores and ids are the package's") {
  const char* const kVariants[] = {
      "--remove_extra_whitespaces=false",
      "--remove_extra_whitespaces=true",
      "--remove_extra_whitespaces=false --add_dummy_prefix=false",
      "--remove_extra_whitespaces=false --user_defined_symbols=capital,[TOOL]",
      "--remove_extra_whitespaces=false --control_symbols=<mask> --split_digits=true",
  };
  const std::vector<std::string> texts = strings();
  REQUIRE(texts.size() == 2000);
  for (const char* variant : kVariants) {
    CAPTURE(variant);
    const test::TempDir dir;
    const auto path = train(dir, variant);
    sentencepiece::SentencePieceProcessor theirs;
    REQUIRE(theirs.Load(path.string()).ok());
    Monitor monitor;
    const Conversion conversion = plan_conversion({.input = path, .vocab_only = true}, monitor);
    const auto ours = make_tokenizer(conversion.plan.metadata);
    const auto scores = conversion.plan.metadata.find_floats("tokenizer.ggml.scores");
    REQUIRE(ours->size() == theirs.GetPieceSize());
    REQUIRE(scores->size() == static_cast<std::size_t>(ours->size()));
    for (TokenId id = 0; id < ours->size(); ++id) {
      CHECK(ours->token_text(id) == theirs.IdToPiece(id));
      CHECK((*scores)[static_cast<std::size_t>(id)] == theirs.GetScore(id));
      CHECK((ours->token_type(id) == TokenType::control) == theirs.IsControl(id));
      CHECK((ours->token_type(id) == TokenType::unknown) == theirs.IsUnknown(id));
      CHECK((ours->token_type(id) == TokenType::byte) == theirs.IsByte(id));
    }
    std::size_t equal = 0;
    for (const std::string& text : texts) {
      const auto ids = ours->encode(text, {.add_special = false, .parse_special = false});
      equal += std::vector<int>(ids.begin(), ids.end()) == theirs.EncodeAsIds(text);
    }
    CHECK(equal == texts.size());
  }
}

TEST_CASE("tokenizer.model that comes back from GGUF is one that the package takes, and the same") {
  const char* const kVariants[] = {
      "--remove_extra_whitespaces=false",
      "--remove_extra_whitespaces=true",
      "--remove_extra_whitespaces=false --add_dummy_prefix=false",
      "--remove_extra_whitespaces=false --control_symbols=<mask> --split_digits=true",
      ("--remove_extra_whitespaces=false --bos_piece=<begin> --eos_piece=<end> --unk_id=2 "
       "--bos_id=0"
       " --eos_id=1"),
  };
  const std::vector<std::string> texts = strings();
  for (const char* variant : kVariants) {
    CAPTURE(variant);
    const test::TempDir dir;
    const auto path = train(dir, variant);
    sentencepiece::SentencePieceProcessor theirs, restored;
    REQUIRE(theirs.Load(path.string()).ok());
    Monitor monitor;
    auto metadata = plan_conversion({.input = path, .vocab_only = true}, monitor).plan.metadata;
    metadata.set("llama.context_length", Value::of_u32(512));
    std::string model;
    for (const auto& file :
         restored_tokenizer(metadata, *find_arch("llama"), theirs.GetPieceSize(), monitor))
      if (file.name == "tokenizer.model") model = file.text;
    REQUIRE(restored.LoadFromSerializedProto(model).ok());
    REQUIRE(restored.GetPieceSize() == theirs.GetPieceSize());
    for (int id = 0; id < theirs.GetPieceSize(); ++id) {
      CHECK(restored.IdToPiece(id) == theirs.IdToPiece(id));
      CHECK(restored.GetScore(id) == theirs.GetScore(id));
      CHECK(restored.IsControl(id) == theirs.IsControl(id));
      CHECK(restored.IsUnknown(id) == theirs.IsUnknown(id));
      CHECK(restored.IsByte(id) == theirs.IsByte(id));
    }
    CHECK(restored.unk_id() == theirs.unk_id());
    std::size_t equal = 0;
    for (const std::string& text : texts)
      equal += restored.EncodeAsIds(text) == theirs.EncodeAsIds(text);
    CHECK(equal == texts.size());
  }
}
