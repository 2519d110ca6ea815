#include "tools/cli/options.h"

#include <doctest/doctest.h>

using namespace lq::cli;

TEST_CASE("sizes are read with their unit") {
  struct Row {
    const char* text;
    std::uint64_t bytes;
  };
  for (const Row& row : {Row{"0", 0}, Row{"17", 17}, Row{"17B", 17}, Row{"4G", 4ull << 30},
                         Row{"512M", 512u << 20}, Row{"1.5GiB", 3ull << 29}, Row{"100kB", 100'000},
                         Row{"1k", 1024}, Row{"2TB", 2'000'000'000'000}, Row{"3T", 3ull << 40}}) {
    CAPTURE(row.text);
    REQUIRE(parse_size(row.text));
    CHECK(*parse_size(row.text) == row.bytes);
  }
  for (const char* text :
       {"", "G", "-1", "4X", "4GiBs", "4 G", "nan", "inf", "1e30", "9999999T", "0x10"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_size(text));
  }
}

TEST_CASE("times are read with their unit") {
  CHECK(parse_duration("90s") == 90);
  CHECK(parse_duration("90") == 90);
  CHECK(parse_duration("2m") == 120);
  CHECK(parse_duration("250ms") == 0.25);
  CHECK(parse_duration("1.5h") == 5400);
  for (const char* text : {"", "s", "-1s", "2d", "2 m", "1m30s"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_duration(text));
  }
}

TEST_CASE("the nearest name is found, a far one is not offered") {
  const std::string names[] = {"--threads", "--temp", "--top-k", "--top-p", "--json"};
  CHECK(nearest("--thread", names) == "--threads");
  CHECK(nearest("--tmep", names) == "--temp");
  CHECK(nearest("--jsno", names) == "--json");
  CHECK(nearest("--THREADS", names) == "--threads");
  CHECK(nearest("--something-else", names) == "");
  const std::string types[] = {"Q4_0", "Q4_K_M", "Q6_K", "F16"};
  CHECK(nearest("q4km", types) == "Q4_K_M");
  CHECK(nearest("x", types) == "");
}

TEST_CASE("checks of values rewrite good ones and explain bad ones") {
  std::string value = "q6_k";
  CHECK(choice({"Q6_K", "F16"}, Case::ignore)(value) == "");
  CHECK(value == "Q6_K");
  value = "q6_k";
  CHECK(choice({"Q6_K", "F16"})(value) == "'q6_k' is not one of Q6_K, F16; did you mean 'Q6_K'?");
  value = "2G";
  CHECK(size()(value) == "");
  CHECK(value == "2147483648");
  value = "2m";
  CHECK(duration()(value) == "");
  CHECK(value == "120");
  value = "1.5";
  CHECK(whole_number(0, 8)(value) == "'1.5' is not a whole number from 0 to 8");
  CHECK(number(0, 2)(value) == "");
  value = "9";
  CHECK(whole_number(0, 8)(value) == "'9' is not a whole number from 0 to 8");
  value = "nan";
  CHECK(number(0, 2)(value) == "'nan' is not a number from 0 to 2");
}
