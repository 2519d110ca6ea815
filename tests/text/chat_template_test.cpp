#include "lib/text/chat_template.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/json.h"
#include "lib/io/text_file.h"
#include "tests/support/errors.h"
#include "tests/support/places.h"

using namespace lq;
using test::error_of;
using test::holds;

namespace {
namespace fs = std::filesystem;
const fs::path kTemplates = lq::test::testdata("templates");

std::chrono::system_clock::time_point clock_of_the_vectors() {
  std::tm time{};
  time.tm_year = 125, time.tm_mon = 6, time.tm_mday = 4;
  time.tm_hour = 12, time.tm_min = 34, time.tm_sec = 56, time.tm_isdst = -1;
  return std::chrono::system_clock::from_time_t(std::mktime(&time));
}

OrderedJson case_variables(const std::string& file) {
  OrderedJson variables = parse_ordered_json(read_text(kTemplates / "cases" / file), file);
  variables.erase("strftime_now");
  return variables;
}

std::string rendered(const std::string& source,
                     const OrderedJson& variables = OrderedJson::object(),
                     const TemplateLimits& limits = {}) {
  return ChatTemplate(source, "t").render(variables, clock_of_the_vectors(), limits);
}

std::string refusal(const std::string& source, const TemplateLimits& limits = {}) {
  return test::message_of(ErrorKind::input,
                          [&] { rendered(source, OrderedJson::object(), limits); });
}

/// "" when the row holds, else what was found.
std::string check_row(const OrderedJson& row, const std::string& source) {
  const OrderedJson variables = case_variables(row.at("case").get<std::string>());
  std::string text;
  const auto error = error_of([&] { text = rendered(source, variables); });
  if (row.contains("error"))
    return error ? "" : "rendered, but " + row.at("error").get<std::string>();
  if (error) return error->what();
  return text == row.at("text").get<std::string>() ? "" : "other text:\n" + text;
}
}  // namespace

TEST_CASE("chat templates: every vector as transformers renders or refuses it") {
  const std::set<std::string> unsupported = {};  // "template case"
  std::istringstream lines(read_text(kTemplates / "expected.jsonl.zst"));
  std::size_t texts = 0, refusals = 0, failed = 0;
  for (std::string line; std::getline(lines, line);) {
    const OrderedJson row = parse_ordered_json(line, "expected.jsonl");
    const auto file = row.at("template").get<std::string>();
    const std::string id = file + " " + row.at("case").get<std::string>();
    const std::string fault = check_row(row, read_text(kTemplates / "files" / file));
    CHECK_MESSAGE(fault.empty() != (unsupported.count(id) == 1), id << ": " << fault);
    if (!fault.empty())
      ++failed;
    else
      ++(row.contains("error") ? refusals : texts);
  }
  CHECK(failed == unsupported.size());
  CHECK(texts == 287);
  CHECK(refusals == 54);
}

TEST_CASE("chat templates: faults are named with template and line") {
  CHECK(holds(refusal("a\nb\n{{ x.y }}"), "t:3: 'x' is undefined"));
  CHECK(holds(refusal("{% if true %}\nx"), "t:2: found the end of the template; expected 'endif'"));
  CHECK(holds(refusal("\n{{ raise_exception('no such role') }}"), "t:2: "));
  CHECK(holds(refusal("\n{{ raise_exception('no such role') }}"), "no such role"));
  CHECK(holds(refusal("{{ 'a' | nothing }}"), "no filter named 'nothing'"));
  CHECK(holds(refusal("{{ 1 is nothing }}"), "no test named 'nothing'"));
  CHECK(holds(refusal("{{ 'a' + 1 }}"), "str"));
  CHECK(holds(refusal("{{ 1 // 0 }}"), "division by zero"));
  CHECK(holds(refusal("\xff"), "not UTF-8"));
}

TEST_CASE("chat templates: cost is bounded") {
  const auto nested = [](std::size_t n) { return std::string(n, '(') + "1" + std::string(n, ')'); };
  CHECK(rendered("{{ " + nested(50) + " }}") == "1");
  CHECK(holds(refusal("{{ " + nested(20000) + " }}"), "nested more than"));
  std::string sum = "{{ 1", tags, dots = "{{ x";
  for (int i = 0; i < 20000; ++i) sum += " + 1", tags += "{% if 1 %}", dots += ".y";
  CHECK(holds(refusal(sum + " }}"), "links"));
  CHECK(holds(refusal(tags), "nested more than"));
  CHECK(holds(refusal(dots + " }}"), "links"));
  CHECK(holds(refusal("{{ " + std::string(20000, '-') + "1 }}"), "nested more than"));
  CHECK(holds(refusal("{% for i in range(100000000) %}{% for j in range(100000000) %}{% endfor %}"
                      "{% endfor %}"),
              "range has more than 100000 items"));
  TemplateLimits few;
  few.steps = 100000;
  CHECK(holds(refusal("{% for i in range(100000) %}{% for j in range(9999) %}{{ j }}{% endfor %}"
                      "{% endfor %}",
                      few),
              "more than 100000 steps"));
  CHECK(holds(refusal("{{ 'x' * 10**9 }}"), "bytes"));
  CHECK(holds(refusal("{{ [1] * 10**9 }}"), "bytes"));
  CHECK(holds(refusal("{{ '%1000000000d' % 1 }}"), "out of range"));
  CHECK(holds(refusal("{{ '{:1000000000}'.format(1) }}"), "out of range"));
  CHECK(holds(refusal("{{ 'x' | indent(10**12, true) }}"), "bytes"));
  const std::string twice = "{% set n = namespace(x='ab') %}{% for i in range(99) %}";
  CHECK(!refusal(twice + "{% set n.x = n.x + n.x %}{% endfor %}").empty());
  CHECK(!refusal(twice + "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}").empty());
  CHECK(!refusal(twice + "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}").empty());
  CHECK(!refusal("{% set n = namespace(x=1) %}{% for i in range(100000) %}{% set n.x = [n.x] %}"
                 "{% endfor %}")
             .empty());
  CHECK(rendered("{% set n = namespace() %}{% set n.self = n %}{{ n.self.self is defined }}") ==
        "True");
}

TEST_CASE("chat templates: values that jinja2 3.1.6 prints") {
  CHECK(rendered("{{ '1_000' | int }} {{ '0x1f' | int(base=16) }} {{ '1__0' | int }}") ==
        "1000 31 0");
  CHECK(rendered("{{ 1.5 is odd }} {{ 3 is odd }} {{ 4 is even }}") == "False True True");
  CHECK(rendered("{{ ' a  b '.split(none, 1) }} {{ ' a  b '.rsplit(none, 1) }}") ==
        "['a', 'b '] [' a', 'b']");
  CHECK(rendered("{{ '{:.3}|{:>5.2}'.format('abcdef', 'xyz') }}") == "abc|   xy");
  CHECK(rendered("{{ '\\x7f' | tojson(ensure_ascii=true) }}") == "\"\\u007f\"");
  CHECK(rendered("{{ '\\u00b2'.isdigit() }} {{ '\\u00bd'.isnumeric() }}") == "True True");
  CHECK(rendered("{{ namespace(a=1, b='x') }}") == "<Namespace {'a': 1, 'b': 'x'}>");
  CHECK(holds(refusal("{% set n = namespace() %}{% set n.n = n %}{{ n }}"), "nested more than"));
}

TEST_CASE("chat templates: thoughts are found under both names") {
  const auto variables = parse_ordered_json(
      R"({"messages": [{"role": "assistant", "reasoning": "hm"}, {"role": "user"}]})", "v");
  CHECK(rendered("{% for m in messages %}{{ m.keys() | join(',') }} {{ m.thinking }};{% endfor %}",
                 variables) == "thinking,role,reasoning,reasoning_content hm;role ;");
}

TEST_CASE("chat templates: damaged sources render or are refused") {
  std::vector<OrderedJson> cases = {case_variables("04-unicode.json"),
                                    case_variables("11-null-content-two-tools.json")};
  TemplateLimits limits;
  limits.steps = 20000;
  std::size_t texts = 0, refusals = 0;
  for (const char* file : {"03-namespace.jinja", "05-macros.jinja", "06-call-block.jinja",
                           "08-tojson.jinja", "11-string-methods.jinja", "14-operators.jinja",
                           "16-for-else-if.jinja", "24-scopes.jinja", "31-safe.jinja"}) {
    const std::string source = read_text(kTemplates / "files" / file);
    for (std::size_t i = 0; i < source.size(); ++i) {
      static constexpr std::string_view kBytes = "{}%'(|-.0\xff";
      std::string damaged = source;
      damaged[i] = kBytes[i % kBytes.size()];
      const auto error = error_of([&] { rendered(damaged, cases[i % cases.size()], limits); });
      ++(error ? refusals : texts);
      if (error) CHECK_MESSAGE(error->kind() == ErrorKind::input, error->what());
    }
  }
  CHECK(texts > 500);
  CHECK(refusals > 500);
}
