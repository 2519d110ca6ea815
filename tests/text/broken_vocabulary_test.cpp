// Vocabularies that nobody has checked: every fault is an error that names the key, or follows the
// rules of vocabulary.h.
#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "lib/base/error.h"
#include "lib/format/gguf_reader.h"
#include "lib/text/tokenizer.h"
#include "lib/text/tokenizer_keys.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/mutate.h"

using namespace lq;
namespace keys = lq::tokenizer_keys;

namespace {

Metadata spm() {
  Metadata m("broken.gguf");
  m.set(keys::kModel, Value::of_string("llama"));
  m.set(keys::kTokens, Value::of_strings({"<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "aa"}));
  m.set(keys::kScores, Value::of_f32s({0, 0, 0, 0, -3, -2, -1}));
  m.set(keys::kTokenType, Value::of_i32s({2, 3, 3, 6, 1, 1, 1}));
  return m;
}

Metadata bpe() {
  Metadata m("broken.gguf");
  m.set(keys::kModel, Value::of_string("gpt2"));
  m.set(keys::kPre, Value::of_string("gpt-2"));
  m.set(keys::kTokens, Value::of_strings({"a", "b", "ab", "<|end|>"}));
  m.set(keys::kTokenType, Value::of_i32s({1, 1, 1, 3}));
  m.set(keys::kMerges, Value::of_strings({"a b"}));
  return m;
}

/// Uses everything that a tokenizer has; nothing may happen but an Error.
void exercise(const Metadata& metadata) {
  try {
    const auto tokenizer = make_tokenizer(metadata);
    const std::string text = "aaab <|end|> <s>\u2581\xFF 12 \u00E9\n";
    for (const bool parse_special : {false, true}) {
      const auto ids =
          tokenizer->encode(text, {.add_special = true, .parse_special = parse_special});
      for (const TokenId id : ids) REQUIRE((id >= 0 && id < tokenizer->size()));
      tokenizer->decode(ids, parse_special);
    }
    for (TokenId id = 0; id < tokenizer->size(); ++id) {
      tokenizer->piece(id, true);
      tokenizer->ends_generation(id);
      CHECK(tokenizer->find(tokenizer->token_text(id)) == id);
    }
  } catch (const Error&) {
  }
}

}  // namespace

TEST_CASE("a fault of a vocabulary is an error that names the key") {
  struct Case {
    bool is_spm;
    std::string_view key;
    Value value;
    std::string said;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Case cases[] = {
      {true, keys::kModel, Value::of_u32(1), "tokenizer.ggml.model"},
      {true, keys::kTokens, Value::of_u32(5), "tokenizer.ggml.tokens"},
      {true, keys::kTokens, Value::of_i32s({1, 2, 3}), "tokenizer.ggml.tokens"},
      {true, keys::kTokens, Value::of_strings({}), "at least one"},
      {true, keys::kTokens, Value::of_strings({"a", "b", "a"}), "tokens 0 and 2"},
      {true, keys::kScores, Value::of_f32s({0, 0}), "tokenizer.ggml.scores has 2"},
      {true, keys::kScores, Value::of_i32s({0, 0, 0, 0, 0, 0, 0}), "tokenizer.ggml.scores"},
      {true, keys::kScores, Value::of_f32s({0, 0, static_cast<float>(nan), 0, 0, 0, 0}),
       "scores[2] is not a number"},
      {true, keys::kTokenType, Value::of_i32s({1}), "tokenizer.ggml.token_type has 1"},
      {true, keys::kTokenType, Value::of_i32s({2, 3, 3, 7, 1, 1, 1}), "token_type[3] is 7"},
      {true, keys::kTokenType, Value::of_string("x"), "tokenizer.ggml.token_type"},
      {true, keys::kTokenType, Value::of_bools({1, 1, 1, 1, 1, 1, 1}), "expected i32"},
      {true, keys::kTokens, Value::of_strings({"<unk>", "<s>", "</s>", "<0x4>", "-", "a", "aa"}),
       "marked as a byte"},
      {true, keys::kBos, Value::of_u32(4000000000), "bos_token_id is 4000000000"},
      {true, keys::kEos, Value::of_u32(7), "eos_token_id is 7"},
      {true, keys::kEot, Value::of_i32(-2), "eot_token_id is -2"},
      {true, keys::kAddBos, Value::of_string("yes"), "tokenizer.ggml.add_bos_token"},
      {true, keys::kSpacePrefix, Value::of_string("often"), "\"often\""},
      {true, keys::kNormalizer, Value::of_string("NFC"), "\"NFC\""},
      {true, keys::kAddedTokens, Value::of_i32s({1}), "pairs"},
      {true, keys::kAddedTokens, Value::of_i32s({7, 1}), "added_tokens[0] is 7"},
      {true, keys::kAddedTokens, Value::of_i32s({-1, 1}), "added_tokens[0] is -1"},
      {true, keys::kAddedTokens, Value::of_i32s({1, 16}), "added_tokens[1] is 16"},
      {false, keys::kMerges, Value::of_strings({"ab"}), "merges[0] is \"ab\""},
      {false, keys::kMerges, Value::of_strings({"a b", "a "}), "merges[1]"},
      {false, keys::kMerges, Value::of_strings({""}), "merges[0]"},
      {false, keys::kMerges, Value::of_u32(1), "tokenizer.ggml.merges"},
      {false, keys::kAddBos, Value::of_bool(true), "bos_token_id names no token"},
      {false, keys::kPrePatterns, Value::of_strings({"(?<"}), "tokenizer.lq.pre_patterns"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.said);
    Metadata metadata = c.is_spm ? spm() : bpe();
    metadata.set(c.key, c.value);
    const std::string message =
        test::message_of(ErrorKind::input, [&] { make_tokenizer(metadata); });
    CHECK_MESSAGE(test::holds(message, c.said), message);
    CHECK_MESSAGE(test::holds(message, "broken.gguf"), message);
  }
  for (const std::string_view key : {keys::kModel, keys::kTokens, keys::kScores}) {
    Metadata metadata = spm();
    metadata.remove(key);
    CHECK(test::holds(test::message_of(ErrorKind::input, [&] { make_tokenizer(metadata); }),
                      std::string(key)));
  }
}

TEST_CASE("an unknown kind of tokenizer is refused with the list of known ones") {
  Metadata metadata = spm();
  metadata.set(keys::kModel, Value::of_string("rwkv"));
  CHECK(test::holds(test::message_of(ErrorKind::unsupported, [&] { make_tokenizer(metadata); }),
                    "gpt2"));
  metadata = bpe();
  metadata.set(keys::kPre, Value::of_string("new-thing"));
  CHECK(test::holds(test::message_of(ErrorKind::unsupported, [&] { make_tokenizer(metadata); }),
                    "llama-bpe"));
}

TEST_CASE("what is odd but harmless is accepted by the stated rules") {
  Metadata metadata = spm();
  metadata.set(keys::kBos, Value::of_u32(4294967295));
  CHECK_FALSE(make_tokenizer(metadata)->bos());
  CHECK(make_tokenizer(metadata)->encode("a", {.add_special = true}).size() == 2);
  metadata = spm();
  metadata.set(keys::kTokens,
               Value::of_strings({"", "<s>", "</s>", "<0x41>", "\xE2\x96", "a", "aa"}));
  const auto tokenizer = make_tokenizer(metadata);
  CHECK(tokenizer->token_text(0) == "[EMPTY_0]");
  CHECK(tokenizer->piece(3, false) == "A");
  // Bytes that no token spells: the unknown token, one for neighbours.
  CHECK(make_tokenizer(spm())->encode("a\u00E9\u00E9", {}) == std::vector<TokenId>{4, 5, 0});
}

TEST_CASE("known broken models make a tokenizer or an error") {
  for (const test::MalformedModel& model : test::malformed_models()) {
    CAPTURE(model.name);
    try {
      exercise(parse_gguf(model.bytes, model.name).metadata);
    } catch (const Error&) {
    }
  }
}

TEST_CASE("no change of a byte of a vocabulary does more than make an error") {
  test::GgufBuilder spm_file, bpe_file;
  spm_file.string(keys::kModel, "llama")
      .strings(keys::kTokens, {"<unk>", "<s>", "</s>", "<0x41>", "\u2581", "a", "aa", "<m>"})
      .numbers<float>(keys::kScores, test::F32, {0, 0, 0, 0, -3, -2, -1, 0})
      .numbers<std::int32_t>(keys::kTokenType, test::I32, {2, 3, 3, 6, 1, 1, 5, 4})
      .u32(keys::kBos, 1)
      .boolean(keys::kAddEos, true)
      .string(keys::kSpacePrefix, "first-unless")
      .numbers<std::int32_t>(keys::kAddedTokens, test::I32, {7, 11});
  bpe_file.string(keys::kModel, "gpt2")
      .string(keys::kPre, "qwen2")
      .strings(keys::kTokens, {"a", "b", "ab", "\u0120", "<|end|>", "\u0120ab"})
      .numbers<std::int32_t>(keys::kTokenType, test::I32, {1, 1, 1, 1, 3, 1})
      .strings(keys::kMerges, {"a b", "\u0120 ab"})
      .strings(keys::kPrePatterns, {"\\p{L}+| ?[^\\s\\d]"})
      .boolean(keys::kIgnoreMerges, true)
      .string(keys::kNormalizer, "nfkc");
  for (const auto& file : {spm_file.build(), bpe_file.build()}) {
    exercise(parse_gguf(file, "whole").metadata);
    test::for_each_mutation(file, [](const std::vector<std::byte>& damaged) {
      try {
        exercise(parse_gguf(damaged, "damaged").metadata);
      } catch (const Error&) {
      }
    });
  }
}
