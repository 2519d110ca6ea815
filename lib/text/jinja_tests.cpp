// The words after `is`.
#include <algorithm>
#include <cmath>

#include "lib/base/quote.h"
#include "lib/text/jinja_library.h"
#include "lib/text/jinja_text.h"

namespace lq::jinja {
namespace {

bool is_iterable(const Value& value) {
  return value.is(Kind::undefined) || value.is(Kind::text) || value.is(Kind::sequence) ||
         value.is(Kind::dict) || value.is(Kind::loop);
}
bool is_sequence_for_tests(const Value& value) {
  return value.is(Kind::undefined) || value.is(Kind::text) || value.is(Kind::dict) ||
         (value.is_sequence() && value.sequence().style <= Style::range);
}
bool same(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.is_integral()) return a.integer() == b.integer();
  if (a.is(Kind::number)) return a.number() == b.number();
  if (a.is(Kind::text)) return a.text() == b.text();
  return a.identity() == b.identity();
}
bool all_of_case(Runtime& runtime, const Value& value, std::string (*change)(std::string_view)) {
  const std::string text = to_text(runtime, value);
  return change(text) == text && (lower(text) != text || upper(text) != text);
}
Value rest_by_two(Runtime& runtime, const Value& value) {
  return arithmetic(runtime, "%", value, Value::of(std::int64_t{2}));
}
bool divides(Runtime& runtime, const Value& value, const Value& by) {
  return !truth(arithmetic(runtime, "%", value, by));
}

using Test = bool (*)(Runtime&, const Value&, const Value&);
struct TestRow {
  std::string_view name;
  Test test;
  bool with_other = false;  ///< whether it compares with an argument
};
#define LQ_TEST(condition) [](Runtime&, const Value& v, const Value&) { return condition; }
#define LQ_COMPARE(condition) [](Runtime& r, const Value& v, const Value& o) { return condition; }
constexpr TestRow kTests[] = {
    {"defined", LQ_TEST(!v.is(Kind::undefined))},
    {"undefined", LQ_TEST(v.is(Kind::undefined))},
    {"none", LQ_TEST(v.is(Kind::none))},
    {"string", LQ_TEST(v.is(Kind::text))},
    {"mapping", LQ_TEST(v.is(Kind::dict))},
    {"iterable", LQ_TEST(is_iterable(v))},
    {"sequence", LQ_TEST(is_sequence_for_tests(v))},
    {"number", LQ_TEST(v.is_number())},
    {"integer", LQ_TEST(v.is(Kind::integer))},
    {"float", LQ_TEST(v.is(Kind::number))},
    {"boolean", LQ_TEST(v.is(Kind::boolean))},
    {"true", LQ_TEST(v.is(Kind::boolean) && v.boolean())},
    {"false", LQ_TEST(v.is(Kind::boolean) && !v.boolean())},
    {"callable", LQ_TEST(v.is(Kind::callable) || v.is(Kind::undefined) || v.is(Kind::loop))},
    {"escaped", LQ_TEST(v.is_safe())},
    {"even", [](Runtime& r, const Value& v, const Value&) { return !truth(rest_by_two(r, v)); }},
    {"odd", [](Runtime& r, const Value& v,
               const Value&) { return equal(r, rest_by_two(r, v), Value::of(std::int64_t{1})); }},
    {"lower", [](Runtime& r, const Value& v, const Value&) { return all_of_case(r, v, lower); }},
    {"upper", [](Runtime& r, const Value& v, const Value&) { return all_of_case(r, v, upper); }},
    {"divisibleby", LQ_COMPARE(divides(r, v, o)), true},
    {"in", LQ_COMPARE(contains(r, o, v)), true},
    {"eq", LQ_COMPARE(equal(r, v, o)), true},
    {"equalto", LQ_COMPARE(equal(r, v, o)), true},
    {"==", LQ_COMPARE(equal(r, v, o)), true},
    {"ne", LQ_COMPARE(!equal(r, v, o)), true},
    {"!=", LQ_COMPARE(!equal(r, v, o)), true},
    {"lt", LQ_COMPARE(compare(r, v, o) < 0), true},
    {"lessthan", LQ_COMPARE(compare(r, v, o) < 0), true},
    {"<", LQ_COMPARE(compare(r, v, o) < 0), true},
    {"le", LQ_COMPARE(compare(r, v, o) <= 0), true},
    {"<=", LQ_COMPARE(compare(r, v, o) <= 0), true},
    {"gt", LQ_COMPARE(compare(r, v, o) > 0), true},
    {"greaterthan", LQ_COMPARE(compare(r, v, o) > 0), true},
    {">", LQ_COMPARE(compare(r, v, o) > 0), true},
    {"ge", LQ_COMPARE(compare(r, v, o) >= 0), true},
    {">=", LQ_COMPARE(compare(r, v, o) >= 0), true},
    {"sameas", [](Runtime&, const Value& v, const Value& o) { return same(v, o); }, true},
};
#undef LQ_TEST
#undef LQ_COMPARE
}  // namespace

bool apply_test(Runtime& runtime, const std::string& name, const Value& subject,
                const Arguments& arguments) {
  runtime.step();
  for (const TestRow& row : kTests) {
    if (row.name != name) continue;
    const std::size_t n = arguments.positional.size();
    if (!arguments.named.empty() || n != (row.with_other ? 1u : 0u))
      runtime.refuse("the test ", quote(name), " takes ", row.with_other ? 1 : 0,
                     " arguments, not ", n);
    return row.test(runtime, subject, row.with_other ? arguments.positional[0] : Value());
  }
  runtime.refuse("no test named ", quote(name));
}

}  // namespace lq::jinja
