#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "lib/base/error.h"
#include "lib/base/json.h"
#include "lib/base/quote.h"
#include "tests/support/errors.h"

using namespace lq;
using test::holds;
using test::message_of;

namespace {
std::string message(const std::string& text) {
  return message_of(ErrorKind::input, [&] { parse_json(text, "a.json"); });
}
std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }
}  // namespace

TEST_CASE("json: values, order, duplicates, byte order mark") {
  const Json value = parse_json(R"({"b": [1, 2.5, null], "a": "\u00e9"})", "a.json");
  CHECK(value.at("b").at(1).get<double>() == 2.5);
  CHECK(value.at("a").get<std::string>() == "\xc3\xa9");
  CHECK(parse_json(R"({"a": 1, "a": 2})", "a.json").at("a").get<int>() == 2);
  CHECK(parse_ordered_json(R"({"b": 1, "a": 2})", "a.json").begin().key() == "b");
  CHECK(parse_json("\xef\xbb\xbf[1]", "a.json").size() == 1);
}

TEST_CASE("json: faults are named with line and column") {
  CHECK(holds(message("{\n  \"a\": nul }"), "a.json: line 2, column 1"));
  CHECK(holds(message("{\n  \"a\": nul }"), "invalid literal"));
  CHECK(holds(message(""), "a.json: line 1, column 1: invalid JSON"));
  CHECK(holds(message("[1, 2"), "unexpected end of input"));
  CHECK(holds(message("[1] 2"), "line 1, column 5"));
  CHECK(holds(message("[\"\xff\"]"), "invalid JSON"));
  CHECK(holds(message("[1e999]"), "invalid JSON"));
  CHECK(holds(message("{\"a\" 1}"), "expected"));
  CHECK(message(std::string("[\"").append(100000, 'x')).size() < 300);
}

TEST_CASE("json: nesting is limited to 512 levels, strings do not count") {
  CHECK(message(nested(512)) == "");
  CHECK(holds(message(nested(513)), "more than 512 levels"));
  CHECK(holds(message(std::string(10'000'000, '[')), "more than 512 levels"));
  std::string objects;
  for (int i = 0; i < 600; ++i) objects += "{\"a\":";
  CHECK(holds(message(objects), "more than 512 levels"));
  CHECK(message(std::string("[\"\\\"").append(1000, '[') + "\"]") == "");
}

TEST_CASE("json: objects with linear look-up are limited") {
  std::string text = "{";
  for (int i = 0; i < 70000; ++i) text.append("\"").append(std::to_string(i)).append("\":0,");
  text.back() = '}';
  CHECK(message(text) == "");
  CHECK(holds(message_of(ErrorKind::input, [&] { parse_ordered_json(text, "a.json"); }),
              "more than 65536 members"));
}

TEST_CASE("quoted text is harmless and bounded") {
  CHECK(quote("blk.0.attn_q") == "'blk.0.attn_q'");
  CHECK(quote("a\x1b[2Jb\n") == "'a\\x1b[2Jb\\x0a'");
  CHECK(quote("\xc3\xa9\xe2\x82\xac") == "'\xc3\xa9\xe2\x82\xac'");
  CHECK(quote("\xff\xc3") == "'\\xff\\xc3'");
  CHECK(quote("\xc2\x9b"
              "2J") == "'\\xc2\\x9b2J'");
  CHECK(quote("\xed\xa0\x80") == "'\\xed\\xa0\\x80'");
  CHECK(quote(std::string(5000, 'x')).size() < 130);
}
