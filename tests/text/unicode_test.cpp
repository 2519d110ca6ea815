#include "lib/text/unicode.h"

#include <doctest/doctest.h>

#include <string>

using namespace lq;

TEST_CASE("characters are read forwards and backwards; what is not UTF-8 has no length") {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
  CHECK(utf8_at(text, 0).code_point == U'a');
  CHECK(utf8_at(text, 1).code_point == U'\u00E9');
  CHECK(utf8_at(text, 3).code_point == U'\u20AC');
  CHECK(utf8_at(text, 6).code_point == U'\U0001F600');
  CHECK(utf8_before(text, text.size()).bytes == 4);
  CHECK(utf8_before(text, 6).code_point == U'\u20AC');
  CHECK(utf8_before(text, 1).bytes == 1);
  for (const char* invalid :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x82", "\xC3"}) {
    CAPTURE(std::string(invalid).size());
    CHECK(utf8_at(invalid, 0).bytes == 0);
    CHECK(utf8_valid_bytes(invalid, 0) == 0);
  }
  for (char32_t c = 0; c < 0x110000; c += 7) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string one;
    append_utf8(c, one);
    REQUIRE(utf8_at(one, 0).code_point == c);
    REQUIRE(static_cast<std::size_t>(utf8_before(one, one.size()).bytes) == one.size());
  }
}

TEST_CASE("normal forms compose what is valid and leave the rest alone") {
  CHECK(normalize("plain", NormalForm::nfc) == "plain");
  CHECK(normalize("e\xCC\x81", NormalForm::nfc) == "\xC3\xA9");
  CHECK(normalize("\xC3\xA9", NormalForm::nfd) == "e\xCC\x81");
  CHECK(normalize("\xEF\xAC\x81", NormalForm::nfkc) == "fi");
  CHECK(normalize("\xEF\xAC\x81", NormalForm::nfc) == "\xEF\xAC\x81");
  CHECK(normalize("\xFF"
                  "e\xCC\x81\xC3",
                  NormalForm::nfc) == "\xFF\xC3\xA9\xC3");
  CHECK(normalize("e\xCC\x81", NormalForm::none) == "e\xCC\x81");
  CHECK(normal_form("nfkd") == NormalForm::nfkd);
  CHECK_FALSE(normal_form("NFC"));
}

TEST_CASE("a stream of bytes comes out in whole characters") {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";
  for (std::size_t step = 1; step <= text.size(); ++step) {
    Utf8Assembler assembler;
    std::string out;
    for (std::size_t at = 0; at < text.size(); at += step) {
      const std::string part = assembler.feed(text.substr(at, step));
      CHECK(utf8_valid_bytes(part, 0) == part.size());
      out += part;
    }
    CHECK(out + assembler.flush() == text);
  }
}

TEST_CASE("bytes that are not UTF-8 become U+FFFD as Python's errors=replace does") {
  const auto whole = [](std::string_view bytes) {
    Utf8Assembler assembler;
    std::string out = assembler.feed(bytes);
    return out + assembler.flush();
  };
  const auto byte_by_byte = [](std::string_view bytes) {
    Utf8Assembler assembler;
    std::string out;
    for (const char c : bytes) out += assembler.feed(std::string_view(&c, 1));
    return out + assembler.flush();
  };
  const std::string bad = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> cases[] = {
      {"a\xE2\x82", "a" + bad},
      {"\xE2\x82z", bad + "z"},
      {"\xF0\x9F\x98", bad},
      {"\xC3\xC3\xA9", bad + "\xC3\xA9"},
      {"\xED\xA0\x80", bad + bad + bad},
      {"\x80\xFFx", bad + bad + "x"},
      {"\xF0\x80\x80\x80", bad + bad + bad + bad},
      {"\xE2\x82\xE2\x82\xAC", bad + "\xE2\x82\xAC"},
  };
  for (const auto& [bytes, expected] : cases) {
    CHECK(whole(bytes) == expected);
    CHECK(byte_by_byte(bytes) == expected);
  }
}
