// Damaged tokenizer.model files and model cards: an error or a value, never a crash.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <span>

#include "lib/jobs/convert_front_matter.h"
#include "lib/jobs/convert_model_id.h"
#include "lib/jobs/sentencepiece_model.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/mutate.h"

using namespace lq;
using namespace lq::test;

namespace {

/// A protobuf field that holds bytes.
std::string field(int number, const std::string& content) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(content.size()) +
         content;
}

std::string piece(const std::string& text, int type) {
  return field(1, field(1, text) + std::string("\x15\x00\x00\x80\xBF", 5) + "\x18" +
                      static_cast<char>(type));
}

std::string small_model() {
  return piece("<unk>", 2) + piece("<s>", 3) + piece("ab", 1) + piece("[X]", 4) +
         field(2, std::string("\x18\x02", 2)) + field(3, std::string("\x18\x00\x20\x01", 4));
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

TEST_CASE("a SentencePiece model is read field by field") {
  const auto file = small_model();
  const auto model = parse_sentencepiece_model(bytes_of(file), "t.model");
  REQUIRE(model.pieces.size() == 4);
  CHECK(model.pieces[2].text == "ab");
  CHECK(model.pieces[2].score == -1.0F);
  CHECK(model.pieces[1].type == SentencePieceModel::Type::control);
  CHECK(model.algorithm == 2);
  CHECK_FALSE(model.add_dummy_prefix);
  CHECK(model.remove_extra_whitespaces);
  CHECK(model.has_user_defined());
}

TEST_CASE("damaged SentencePiece models end in an error or a model") {
  const auto file = small_model();
  int errors = 0;
  for_each_mutation(bytes_of(file), [&](const std::vector<std::byte>& damaged) {
    errors += error_of([&] { parse_sentencepiece_model(damaged, "t.model"); }).has_value();
  });
  CHECK(errors > 0);
  CHECK(holds(message_of(ErrorKind::input, [] { parse_sentencepiece_model({}, "t.model"); }),
              "no pieces"));
}

TEST_CASE("damaged front matter ends in an error or an object") {
  const std::string card =
      "---\nlicense: [mit, 'a''b']\nbase_model:\n  - o/n\n  - k: v\ntext: |\n  a\n\n  b\n"
      "x: \"q\\n\"\nm: {a: [1, 2], b: ~}\n---\nrest\n";
  const auto whole = parse_front_matter(card, "README.md");
  CHECK(whole["license"] == Json({"mit", "a'b"}));
  CHECK(whole["base_model"][1]["k"] == "v");
  CHECK(whole["text"] == "a\n\nb\n");
  CHECK(whole["x"] == "q\n");
  CHECK(whole["m"]["a"] == Json({"1", "2"}));
  CHECK(whole["m"]["b"].is_null());
  for_each_mutation(bytes_of(card), [&](const std::vector<std::byte>& damaged) {
    const std::string text(reinterpret_cast<const char*>(damaged.data()), damaged.size());
    bool is_object = true;
    error_of([&] { is_object = parse_front_matter(text, "README.md").is_object(); });
    CHECK(is_object);
  });
  const std::string deep = "---\nx: " + std::string(10000, '[') + std::string(10000, ']') + "\n";
  CHECK(holds(message_of(ErrorKind::input, [&] { parse_front_matter(deep, "README.md"); }),
              "more levels"));
}

TEST_CASE("names of models are taken apart") {
  const auto id = parse_model_id("meta-llama/Meta-Llama-3-8B-Instruct", 8'030'000'000);
  CHECK(id.name == "Meta-Llama-3-8B-Instruct");
  CHECK(id.organization == "meta-llama");
  CHECK(id.basename == "Meta-Llama-3");
  CHECK(id.finetune == "Instruct");
  CHECK(id.size_label == "8B");
  CHECK_FALSE(id.version);
  CHECK(title_of("Meta-Llama-3-8B-Instruct") == "Meta Llama 3 8B Instruct");
  CHECK(title_of("tiny-llama-v1.1") == "Tiny Llama v1.1");
  const auto long_context = parse_model_id("Phi-3-mini-4k-instruct", 3'800'000'000);
  CHECK(long_context.finetune == "4k-instruct");
  CHECK(long_context.size_label == "mini");
  CHECK(parse_model_id("bloom-7b1", 0).size_label == "7.1B");
  CHECK_FALSE(parse_model_id("plain-name", 0).basename);
  CHECK(parse_model_id("a sentence", 0).name == "a sentence");
  CHECK(size_label(6'740'000'000) == "6.7B");
  CHECK(size_label(97'300) == "97K");
  CHECK(size_label(359'000) == "359K");
  CHECK(conventional_file_name({.name = "a b/../c",
                                .basename = {},
                                .size_label = "1B",
                                .finetune = {},
                                .version = {},
                                .encoding = "F16",
                                .kind = ""}) == "a-b-..-c-1B-F16");
}
