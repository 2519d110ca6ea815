#include "lib/text/tokenizer.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "lib/text/tokenizer_keys.h"
#include "tests/support/vocabularies.h"

using namespace lq;
namespace keys = lq::tokenizer_keys;
using Ids = std::vector<TokenId>;

namespace {

struct Oracle {
  const char* name;
  bool sentencepiece;  ///< ids are SentencePiece's: control tokens are not recognised in text
};
constexpr Oracle kOracles[] = {
    {"gpt2", false},          {"llama3.2-bpe", false}, {"llama2-hf", false}, {"llama2-spm", true},
    {"mistral-v3-spm", true}, {"phi-3-mini", false},   {"lq-demo", false}};

std::size_t n_equal(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                    const std::vector<Json>& expected, bool parse_special) {
  std::size_t equal = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Ids ids = tokenizer.encode(texts[i], {.parse_special = parse_special});
    if (ids == expected[i].get<Ids>())
      ++equal;
    else
      MESSAGE("line " << i << ": " << Json(texts[i]).dump());
  }
  return equal;
}

/// A small SentencePiece-like vocabulary in which the ids of `tokenizers` 0.23.3 were made.
Metadata small_spm() {
  Metadata m("small");
  m.set(keys::kModel, Value::of_string("llama"));
  m.set(keys::kTokens, Value::of_strings({"<unk>", "<s>", "</s>", "\u2581", "a", "b", "c", "ab",
                                          "\u2581a", "\u2581ab", " ", "x", "<m>", "<m>a", "a<"}));
  m.set(keys::kScores, Value::of_f32s({-3, -3, -3, -3, -3, -3, -3, 0, -1, -2, -3, -3, -3, -3, -3}));
  m.set(keys::kTokenType, Value::of_i32s({2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 5, 5}));
  return m;
}

Ids encode(const Metadata& metadata, std::string_view text) {
  return make_tokenizer(metadata)->encode(text, {});
}

}  // namespace

TEST_CASE("ids are those of the tokenizers and sentencepiece packages") {
  const auto texts = test::read_awkward_texts();
  REQUIRE(texts.size() == 2000);
  for (const Oracle& oracle : kOracles) {
    CAPTURE(oracle.name);
    const std::string name = oracle.name;
    const auto tokenizer = make_tokenizer(test::read_vocabulary(name));
    auto expected = test::read_json_lines(name + ".ids.zst");
    const std::size_t equal = n_equal(*tokenizer, texts, expected, !oracle.sentencepiece);
    MESSAGE(name << ": " << equal << "/" << texts.size() << " texts equal");
    CHECK(equal == texts.size());
    if (oracle.sentencepiece || name == "llama3.2-bpe") continue;  // no special tokens
    for (const Json& line : test::read_json_lines(name + ".off.zst"))
      expected[line[0].get<std::size_t>()] = line[1];
    const std::size_t equal_off = n_equal(*tokenizer, texts, expected, false);
    MESSAGE(name << ": " << equal_off << "/" << texts.size() << " equal without special tokens");
    CHECK(equal_off == texts.size());
  }
}

TEST_CASE("ids are those of the reference engine for its own vocabularies") {
  for (const std::string name : {"ggml-deepseek-coder", "ggml-falcon", "ggml-starcoder"}) {
    CAPTURE(name);
    const auto tokenizer = make_tokenizer(test::read_vocabulary(name));
    const Json cases = test::read_json_lines(name + ".cases.json.zst").at(0);
    REQUIRE(cases.size() == 47);
    for (const Json& one : cases)
      CHECK(tokenizer->encode(one[0].get<std::string>(), {.parse_special = false}) ==
            one[1].get<Ids>());
  }
}

TEST_CASE("texts decode as the packages decode them") {
  for (const Oracle& oracle : kOracles) {
    CAPTURE(oracle.name);
    const std::string name = oracle.name;
    const auto tokenizer = make_tokenizer(test::read_vocabulary(name));
    std::size_t compared = 0, equal = 0;
    for (const Json& line : test::read_json_lines(name + ".decode.zst")) {
      const Ids ids = line[0];
      for (std::size_t i = 1; i < line.size(); ++i) {
        const std::string expected = line[i];
        // How broken UTF-8 is shown is for the caller to say (Utf8Assembler). SentencePiece shows
        // the unknown token as U+2047. `tokenizers` does not skip special tokens that are
        // normalized, which is of no use to anybody.
        if (expected.find("\uFFFD") != expected.npos || expected.find("\u2047") != expected.npos ||
            (name == "llama2-hf" && i == 2))
          continue;
        ++compared;
        if (tokenizer->decode(ids, !oracle.sentencepiece && i == 1) == expected)
          ++equal;
        else
          MESSAGE(line.dump());
      }
    }
    MESSAGE(name << ": " << equal << "/" << compared << " texts decoded alike");
    CHECK(equal == compared);
    CHECK(compared > 400);
  }
}

TEST_CASE("pieces put together give the text back") {
  const auto texts = test::read_awkward_texts();
  for (const char* name : {"gpt2", "llama3.2-bpe", "llama2-spm"}) {
    const auto tokenizer = make_tokenizer(test::read_vocabulary(name));
    const bool spm = std::string_view(name) == "llama2-spm";
    for (const std::string& text : texts) {
      if (spm && text.find("\u2581") != text.npos) continue;
      const Ids ids = tokenizer->encode(text, {.parse_special = false});
      REQUIRE(tokenizer->decode(ids, false) == text);
      std::string joined;
      for (const TokenId id : ids) joined += tokenizer->piece(id, false);
      REQUIRE(joined == (spm && !text.empty() ? " " : "") + text);
    }
    const std::string invalid = "a\xFF\xC3z\xE2\x82 \xED\xA0\x80";
    CHECK(tokenizer->decode(tokenizer->encode(invalid, {}), false) == invalid);
  }
}

TEST_CASE("tokens take white space along, stand alone or are looked for in normalised text") {
  struct Case {
    std::int32_t flags;
    const char* text;
    Ids ids;
  };
  const Case cases[] = {
      {0, "a<m>b", {8, 12, 3, 5}},
      {0, " a <m>  b", {3, 8, 3, 12, 3, 3, 3, 5}},
      {0, "a<m><m> c", {8, 12, 12, 3, 3, 6}},
      {keys::kLstrip, " a <m>  b", {3, 8, 12, 3, 3, 3, 5}},
      {keys::kLstrip, "ab <m>", {9, 12}},
      {keys::kRstrip, " a <m>  b", {3, 8, 3, 12, 3, 5}},
      {keys::kRstrip, "ab<m>\u00A0\tab", {9, 12, 9}},
      {keys::kRstrip, "a<m><m> c", {8, 12, 12, 3, 6}},
      {keys::kLstrip | keys::kRstrip, " a <m>  b", {3, 8, 12, 3, 5}},
      {keys::kNormalized, "a<m>b", {8, 0, 5}},
      {keys::kNormalized, " a <m>  b", {3, 8, 12, 3, 3, 5}},
      {keys::kNormalized, "<m>", {12}},
      {keys::kNormalized, "ab <m>", {9, 12}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.flags);
    CAPTURE(c.text);
    Metadata m = small_spm();
    m.set(keys::kAddedTokens, Value::of_i32s({12, c.flags}));
    CHECK(encode(m, c.text) == c.ids);
  }
  Metadata single = small_spm();
  single.set(keys::kTokenType, Value::of_i32s({2, 3, 3, 1, 1, 1, 1, 4, 1, 1, 1, 1, 5, 5, 5}));
  single.set(keys::kAddedTokens, Value::of_i32s({7, keys::kSingleWord}));
  CHECK(encode(single, "ab c") == Ids{7, 3, 3, 6});
  CHECK(encode(single, "cab") == Ids{3, 6, 7});
  CHECK(encode(single, "(ab)") == Ids{3, 0, 7, 3, 0});
}

TEST_CASE("the longest of the tokens that begin leftmost is taken") {
  Metadata m = small_spm();
  m.set(keys::kTokenType, Value::of_i32s({2, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 4, 4}));
  CHECK(encode(m, "<m>ab") == Ids{13, 3, 5});
  CHECK(encode(m, "ba<m>a") == Ids{3, 5, 14, 3, 0, 4});
}

TEST_CASE("a space goes before every piece of text, before the first, or before none") {
  struct Case {
    const char* prefix;
    const char* text;
    Ids ids;
  };
  const Case cases[] = {
      {"every", "  ab", {3, 3, 9}},
      {"every", "ab<m>ab", {9, 12, 9}},
      {"every-unless", "  ab", {3, 9}},
      {"every-unless", " ab<m>ab", {9, 12, 9}},
      {"every-unless", "<m>ab<m> ab", {12, 9, 12, 9}},
      {"first", "ab<m>ab", {9, 12, 7}},
      {"first", "<m>ab", {3, 12, 7}},
      {"first-unless", "  ab", {3, 9}},
      {"first-unless", " ab<m>ab", {9, 12, 7}},
      {"first-unless", "<m>ab<m> ab", {12, 7, 12, 9}},
      {"never", "ab", {7}},
      {"never", " ab<m>ab", {9, 12, 7}},
  };
  for (const Case& c : cases) {
    CAPTURE(c.prefix);
    CAPTURE(c.text);
    Metadata m = small_spm();
    m.set(keys::kSpacePrefix, Value::of_string(c.prefix));
    CHECK(encode(m, c.text) == c.ids);
  }
  Metadata m = small_spm();
  m.set(keys::kAddSpacePrefix, Value::of_bool(false));
  CHECK(encode(m, "ab") == Ids{7});
  m.set(keys::kAddSpacePrefix, Value::of_bool(true));
  m.set(keys::kRemoveExtraWhitespaces, Value::of_bool(true));
  CHECK(encode(m, "  ab  ab ") == Ids{9, 9});
}

TEST_CASE("begin, end and the tokens that end an answer") {
  Metadata m = small_spm();
  const auto plain = make_tokenizer(m);
  CHECK(plain->encode("ab", {.add_special = true}) == Ids{1, 9});
  CHECK(plain->encode("", {.add_special = true}) == Ids{1});
  CHECK(plain->encode("", {}).empty());
  CHECK(plain->bos() == 1);
  CHECK(plain->eos() == 2);
  CHECK(plain->ends_generation(2));
  CHECK_FALSE(plain->ends_generation(1));
  CHECK(plain->piece(2, false) == "");
  CHECK(plain->piece(2, true) == "</s>");
  m.set(keys::kAddBos, Value::of_bool(false));
  m.set(keys::kAddEos, Value::of_bool(true));
  m.set(keys::kEot, Value::of_u32(12));
  const auto other = make_tokenizer(m);
  CHECK(other->encode("ab", {.add_special = true}) == Ids{9, 2});
  CHECK(other->ends_generation(12));
  const auto demo = make_tokenizer(test::read_vocabulary("lq-demo"));
  CHECK(demo->ends_generation(demo->find("<|im_end|>").value()));
  CHECK_FALSE(demo->ends_generation(demo->find("<|im_start|>").value()));
}

TEST_CASE("long words take time that grows with their length only [slow]") {
  for (const char* name : {"gpt2", "llama2-spm"}) {
    const auto tokenizer = make_tokenizer(test::read_vocabulary(name));
    for (const char c : {'a', ' ', '1', '\n', '!'}) {
      const std::string text(1'000'000, c);
      CHECK(tokenizer->decode(tokenizer->encode(text, {}), false) == text);
    }
  }
}
