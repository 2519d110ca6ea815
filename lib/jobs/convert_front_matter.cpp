#include "lib/jobs/convert_front_matter.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr int kMostDepth = 32;

struct Line {
  std::size_t number = 0;  ///< in the file, from 1
  std::size_t indent = 0;
  std::string text;  ///< without indentation and trailing white space

  bool is_item() const { return text == "-" || text.starts_with("- "); }
};

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \t\r") - first + 1));
}

/// A scalar that is not quoted, without the comment that may follow it.
Json plain(std::string_view text) {
  const auto comment = text.starts_with('#') ? 0 : text.find(" #");
  const auto value = trimmed(text.substr(0, comment));
  if (value.empty() || value == "~" || value == "null" || value == "Null" || value == "NULL")
    return nullptr;
  return value;
}

/// Position after the closing quote of the quoted scalar that begins at `at`, or npos.
std::size_t end_of_quoted(std::string_view text, std::size_t at) {
  const char quote_char = text[at];
  for (++at; at < text.size(); ++at) {
    if (quote_char == '"' && text[at] == '\\') {
      ++at;
    } else if (text[at] == quote_char) {
      if (quote_char == '\'' && at + 1 < text.size() && text[at + 1] == '\'')
        ++at;
      else
        return at + 1;
    }
  }
  return std::string_view::npos;
}

/// True when every bracket and quote of a flow collection is closed.
bool is_complete(std::string_view text) {
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"' ||
        (c == '\'' && (i == 0 || !std::isalnum(static_cast<unsigned char>(text[i - 1]))))) {
      const auto end = end_of_quoted(text, i);
      if (end == std::string_view::npos) return false;
      i = end - 1;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      if (--depth == 0) return true;
    }
  }
  return depth <= 0;
}

class Parser {
 public:
  Parser(std::vector<Line> lines, const std::string& name)
      : lines_(std::move(lines)), name_(name) {}

  Json parse() {
    skip_blank();
    if (at_ == lines_.size()) return Json::object();
    auto value = block(lines_[at_].indent, 0);
    skip_blank();
    if (at_ != lines_.size()) bad("found text that belongs to nothing before it");
    return value;
  }

 private:
  [[noreturn]] void bad(const char* what) const {
    const auto& line = lines_[std::min(at_, lines_.size() - 1)];
    fail(ErrorKind::input, name_, ": line ", line.number, ": ", what, ": ", quote(line.text, 60));
  }

  void skip_blank() {
    while (at_ < lines_.size() && (lines_[at_].text.empty() || lines_[at_].text[0] == '#')) ++at_;
  }
  /// True when a line follows that is indented more than `indent`.
  bool has_deeper(std::size_t indent) {
    skip_blank();
    return at_ < lines_.size() && lines_[at_].indent > indent;
  }

  Json block(std::size_t indent, int depth) {
    if (depth > kMostDepth) bad("more levels than are supported");
    return lines_[at_].is_item() ? sequence(indent, depth) : mapping(indent, depth);
  }

  Json sequence(std::size_t indent, int depth) {
    auto list = Json::array();
    for (skip_blank(); at_ < lines_.size() && lines_[at_].indent == indent && lines_[at_].is_item();
         skip_blank()) {
      auto& line = lines_[at_];
      const auto rest = line.text.find_first_not_of(' ', 1);
      if (rest == std::string::npos) {
        ++at_;
        list.push_back(has_deeper(indent) ? block(lines_[at_].indent, depth + 1) : Json());
        continue;
      }
      line.text.erase(0, rest);
      line.indent += rest;
      if (line.is_item() || end_of_key(line.text) != std::string::npos)
        list.push_back(block(line.indent, depth + 1));
      else
        list.push_back(scalar(std::exchange(line.text, {}), indent, depth));
    }
    return list;
  }

  /// Position of the ':' that ends the key at the beginning of `text`, or npos.
  static std::size_t end_of_key(const std::string& text) {
    if (text.empty() || text[0] == '[' || text[0] == '{') return std::string::npos;
    std::size_t at = 0;
    if (text[0] == '"' || text[0] == '\'') {
      at = end_of_quoted(text, 0);
      if (at == std::string::npos || at >= text.size() || text[at] != ':') return std::string::npos;
      return at;
    }
    for (at = text.find(':'); at != std::string::npos; at = text.find(':', at + 1))
      if (at + 1 == text.size() || text[at + 1] == ' ') return at;
    return std::string::npos;
  }

  Json mapping(std::size_t indent, int depth) {
    auto object = Json::object();
    for (skip_blank();
         at_ < lines_.size() && lines_[at_].indent == indent && !lines_[at_].is_item();
         skip_blank()) {
      const auto text = lines_[at_].text;
      const auto colon = end_of_key(text);
      if (colon == std::string::npos) bad("expected 'key: value'");
      auto key = text.substr(0, colon);
      if (key.starts_with('"') || key.starts_with('\'')) key = unquoted(key);
      const auto rest = trimmed(std::string_view(text).substr(colon + 1));
      if (!rest.empty() && rest[0] != '#') {
        object[key] = scalar(rest, indent, depth);
        continue;
      }
      ++at_;
      const bool deeper = has_deeper(indent);
      const bool list_here =
          at_ < lines_.size() && lines_[at_].indent == indent && lines_[at_].is_item();
      object[key] = deeper      ? block(lines_[at_].indent, depth + 1)
                    : list_here ? sequence(indent, depth + 1)
                                : Json();
    }
    return object;
  }

  /// A value that begins on the current line; what belongs to it is indented more than `indent`.
  Json scalar(std::string text, std::size_t indent, int depth) {
    const char first = text[0];
    if (first == '|' || first == '>') return literal_block(first == '>', indent);
    if (first == '&' || first == '*' || first == '!')
      bad("anchors, aliases and tags are not supported");
    ++at_;
    const bool flow = first == '[' || first == '{', quoted = first == '"' || first == '\'';
    const auto complete = [&] {
      return flow ? is_complete(text) : !quoted || end_of_quoted(text, 0) != std::string::npos;
    };
    while (flow || quoted ? !complete() && at_ < lines_.size() : has_deeper(indent)) {
      if (!lines_[at_].text.empty()) text += " " + lines_[at_].text;
      ++at_;
    }
    if (!complete()) {
      --at_;
      bad("a bracket or quote is not closed");
    }
    if (quoted) return unquoted(text);
    if (!flow) return plain(text);
    std::size_t at = 0;
    return flow_value(text, at, depth);
  }

  Json literal_block(bool folded, std::size_t indent) {
    std::string text;
    for (++at_; at_ < lines_.size() && (lines_[at_].text.empty() || lines_[at_].indent > indent);
         ++at_)
      text += lines_[at_].text + (folded && !lines_[at_].text.empty() ? " " : "\n");
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    return text + "\n";
  }

  std::string unquoted(std::string_view text) const {
    const auto end = end_of_quoted(text, 0);
    if (end == std::string_view::npos) bad("a quote is not closed");
    const auto inside = text.substr(1, end - 2);
    if (text[0] == '"') {
      try {
        return Json::parse(text.substr(0, end)).get<std::string>();
      } catch (const Json::exception&) {
        return std::string(inside);  // an escape that only YAML has: keep it as written
      }
    }
    std::string out;
    for (std::size_t i = 0; i < inside.size(); ++i) {
      out += inside[i];
      if (inside[i] == '\'') ++i;
    }
    return out;
  }

  static void skip_spaces(std::string_view text, std::size_t& at) {
    while (at < text.size() && text[at] == ' ') ++at;
  }

  Json flow_value(std::string_view text, std::size_t& at, int depth) {
    if (depth > kMostDepth) bad("more levels than are supported");
    skip_spaces(text, at);
    if (at >= text.size()) return nullptr;
    if (text[at] == '[' || text[at] == '{') return flow_collection(text, at, depth);
    if (text[at] == '"' || text[at] == '\'') {
      const auto begin = at;
      at = end_of_quoted(text, at);
      if (at == std::string_view::npos) bad("a quote is not closed");
      return unquoted(text.substr(begin, at - begin));
    }
    const auto begin = at;
    while (at < text.size() && std::string_view(",]}").find(text[at]) == std::string_view::npos &&
           !(text[at] == ':' && (at + 1 == text.size() || text[at + 1] == ' ')))
      ++at;
    return plain(text.substr(begin, at - begin));
  }

  Json flow_collection(std::string_view text, std::size_t& at, int depth) {
    const bool is_list = text[at] == '[';
    const char close = is_list ? ']' : '}';
    auto out = is_list ? Json::array() : Json::object();
    for (++at;;) {
      skip_spaces(text, at);
      if (at >= text.size()) bad("a bracket is not closed");
      if (text[at] == close) {
        ++at;
        return out;
      }
      if (text[at] == ',') {
        ++at;
        continue;
      }
      const auto before = at;
      auto value = flow_value(text, at, depth + 1);
      skip_spaces(text, at);
      if (!is_list) {
        const auto key = value.is_string() ? value.get<std::string>() : std::string();
        value = nullptr;
        if (at < text.size() && text[at] == ':') value = flow_value(text, ++at, depth + 1);
        out[key] = std::move(value);
      } else {
        out.push_back(std::move(value));
      }
      if (at == before) bad("a bracket of another kind was expected");
    }
  }

  std::vector<Line> lines_;
  const std::string& name_;
  std::size_t at_ = 0;
};

}  // namespace

Json parse_front_matter(std::string_view readme, const std::string& name) {
  std::vector<Line> lines;
  std::size_t number = 0;
  while (!readme.empty()) {
    const auto end = std::min(readme.find('\n'), readme.size());
    std::string text(readme.substr(0, end));
    readme.remove_prefix(std::min(end + 1, readme.size()));
    if (text.ends_with('\r')) text.pop_back();
    ++number;
    if (number == 1) {
      if (text != "---") return Json::object();
      continue;
    }
    if (text == "---") break;
    for (std::size_t tab; (tab = text.find('\t')) != std::string::npos;) text.replace(tab, 1, "  ");
    const auto indent = text.find_first_not_of(' ');
    lines.push_back({number, indent == std::string::npos ? 0 : indent, trimmed(text)});
  }
  if (lines.empty()) return Json::object();
  auto value = Parser(std::move(lines), name).parse();
  return value.is_object() ? value : Json::object();
}

}  // namespace lq
