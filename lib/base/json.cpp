#include "lib/base/json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"

namespace lq {
namespace {

constexpr std::size_t kMaxDepth = 512;
/// Members of one object whose look-up is linear: more would make parsing quadratic.
constexpr std::size_t kMaxOrderedMembers = 1 << 16;

/// "line L, column C" of the byte at `at`, counted from 1.
std::string place(std::string_view text, std::size_t at) {
  const std::string_view before = text.substr(0, std::min(at, text.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const auto start = before.rfind('\n');
  const std::size_t column = start == before.npos ? before.size() + 1 : before.size() - start;
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

/// Checks nesting and object sizes without building anything. Up to the first fault of the text it
/// sees the same strings and brackets as the parser, and the parser stops there.
void check_limits(std::string_view text, const std::string& name, std::size_t max_members) {
  std::array<std::size_t, kMaxDepth + 1> members{};
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (depth == kMaxDepth)
        fail(ErrorKind::input, name, ": ", place(text, i), ": JSON nested more than ", kMaxDepth,
             " levels deep");
      members[++depth] = 0;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    } else if (c == ':' && ++members[depth] > max_members) {
      fail(ErrorKind::input, name, ": ", place(text, i), ": JSON object with more than ",
           max_members, " members");
    }
  }
}

/// The reason inside a message of the parser, without its numbers and without the (possibly long)
/// text that it read last: "syntax error while parsing value - invalid literal; last read: ...".
std::string reason(std::string message) {
  for (const char* mark : {"while parsing ", "] "})
    if (const auto at = message.find(mark); at != message.npos) {
      message.erase(0, at + std::string_view(mark).size());
      break;
    }
  std::string expected;
  if (const auto at = message.rfind("; expected "); at != message.npos)
    expected = message.substr(at);
  if (const auto at = message.find("; "); at != message.npos) message.erase(at);
  return message.substr(0, 200) + expected.substr(0, 100);
}

template <class Value>
Value parse(std::string_view text, const std::string& name, std::size_t max_members) {
  check_limits(text, name, max_members);
  try {
    return Value::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    // `byte` counts from 1 and is one past the end when the text ends too early.
    fail(ErrorKind::input, name, ": ", place(text, error.byte > 0 ? error.byte - 1 : 0),
         ": invalid JSON: ", reason(error.what()));
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::input, name, ": invalid JSON: ", reason(error.what()));
  }
}

}  // namespace

Json parse_json(std::string_view text, const std::string& name) {
  return parse<Json>(text, name, text.size());
}

OrderedJson parse_ordered_json(std::string_view text, const std::string& name) {
  return parse<OrderedJson>(text, name, kMaxOrderedMembers);
}

}  // namespace lq
