#include "lib/infer/stop_text.h"

#include <doctest/doctest.h>

#include <string>

namespace {

/// What is shown of `text` fed in pieces of `n` bytes.
std::string shown(const std::vector<std::string>& stops, const std::string& text, std::size_t n) {
  lq::StopText stop(stops);
  std::string result;
  for (std::size_t i = 0; i < text.size(); i += n) result += stop.feed(text.substr(i, n));
  return result + stop.flush();
}

}  // namespace

TEST_CASE("stop text: everything before the first stop text is shown, however it is cut") {
  for (std::size_t n = 1; n < 12; ++n) {
    CAPTURE(n);
    CHECK(shown({"END"}, "one ENtwo END three", n) == "one ENtwo ");
    CHECK(shown({"END", "two"}, "one ENtwo END three", n) == "one EN");
    CHECK(shown({"aab"}, "aaaaab", n) == "aaa");
    CHECK(shown({"END"}, "one EN", n) == "one EN");
    CHECK(shown({}, "one", n) == "one");
    CHECK(shown({""}, "one", n) == "one");
  }
}

TEST_CASE("stop text: text that cannot become a stop text is shown at once") {
  lq::StopText stop({"\n\n"});
  CHECK(stop.feed("a line\n") == "a line");
  CHECK(stop.feed("b") == "\nb");
  CHECK(stop.feed("\n\n") == "");
  CHECK(stop.matched());
  CHECK(stop.feed("more") == "");
}
