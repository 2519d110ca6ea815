#include "lib/text/pretokenizers.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/errors.h"
#include "tests/support/vocabularies.h"

using namespace lq;

namespace {

PreTokenizer make(std::span<const char* const> patterns) {
  return PreTokenizer(std::vector<std::string>(patterns.begin(), patterns.end()), "test");
}

std::vector<std::string_view> split(const PreTokenizer& splitter, std::string_view text) {
  std::vector<std::string_view> pieces;
  splitter.split(text, pieces);
  return pieces;
}

}  // namespace

TEST_CASE("every family splits as the tokenizers package does with its regular expressions") {
  const auto texts = test::read_awkward_texts();
  std::size_t n_families = 0;
  for (const Json& line : test::read_json_lines("pretokenizers.jsonl.zst")) {
    const std::string family = line.at("family");
    CAPTURE(family);
    ++n_families;
    const PreTokenizerInfo* row = nullptr;
    for (const PreTokenizerInfo& each : all_pretokenizers())
      if (each.family == family) row = &each;
    REQUIRE(row != nullptr);
    const PreTokenizer splitter = make(patterns_of(*row));
    std::size_t compared = 0, equal = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const Json& expected = line.at("pieces")[i];
      if (expected.is_null()) continue;
      std::vector<std::size_t> sizes;
      for (const auto piece : split(splitter, texts[i])) sizes.push_back(piece.size());
      ++compared;
      if (sizes == expected.get<std::vector<std::size_t>>())
        ++equal;
      else
        MESSAGE(family << ": " << Json(texts[i]).dump());
    }
    CHECK(equal == compared);
    CHECK(compared > 1800);
  }
  CHECK(n_families == 28);
}

TEST_CASE("every row has patterns, and a name once") {
  for (const PreTokenizerInfo& row : all_pretokenizers()) {
    CAPTURE(row.name);
    CHECK_FALSE(patterns_of(row).empty());
    CHECK(find_pretokenizer(row.name) == &row);
  }
  CHECK(find_pretokenizer("no such name") == nullptr);
}

TEST_CASE("invalid UTF-8 is cut off byte by byte and nothing is lost") {
  const PreTokenizer splitter = make(patterns_of(*find_pretokenizer("llama-bpe")));
  CHECK(split(splitter, "ab\xFF\xFE cd") ==
        std::vector<std::string_view>{"ab", "\xFF", "\xFE", " cd"});
}

TEST_CASE("empty matches cut, groups of three are counted from the right") {
  const char* const empty[] = {"(?=b)"};
  CHECK(split(make(empty), "aabab") == std::vector<std::string_view>{"aa", "ba", "b"});
  const char* const threes[] = {"@\\p{N}+"};
  CHECK(split(make(threes), "x12345y") == std::vector<std::string_view>{"x", "12", "345", "y"});
}

TEST_CASE("white space is the Unicode property") {
  const char* const pattern[] = {"[\\s]+|\\S+"};
  CHECK(split(make(pattern), "a\u180E\u3000\u0085b").size() == 3);
}

TEST_CASE("a pattern that is none or that never ends is an error with a reason") {
  const char* const wrong[] = {"(a"};
  CHECK(test::holds(test::message_of(ErrorKind::input, [&] { make(wrong); }), "\"(a\""));
  const char* const endless[] = {"(?:a+)+$"};
  const PreTokenizer splitter = make(endless);
  const std::string text = std::string(4000, 'a') + "b";
  CHECK(test::holds(test::message_of(ErrorKind::input, [&] { split(splitter, text); }), "limit"));
}
