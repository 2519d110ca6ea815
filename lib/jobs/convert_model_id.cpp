#include "lib/jobs/convert_model_id.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <vector>

namespace lq {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
/// Bytes of other scripts count as letters.
bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

/// Eats parts of a lower-case word from the left.
struct Matcher {
  std::string_view rest;

  bool literal(std::string_view text) {
    if (!rest.starts_with(text)) return false;
    rest.remove_prefix(text.size());
    return true;
  }
  bool digits() {
    std::size_t n = 0;
    while (n < rest.size() && is_digit(rest[n])) ++n;
    rest.remove_prefix(n);
    return n > 0;
  }
  bool done() const { return rest.empty(); }
};

/// 3, v2.1, iter7
bool is_version(std::string_view word) {
  Matcher m{word};
  if (!m.literal("v")) m.literal("iter");
  if (!m.digits()) return false;
  while (m.literal("."))
    if (!m.digits()) return false;
  return m.done();
}

/// q4_k, iq3_s, bf16, fp32
bool is_storage_type(std::string_view word) {
  Matcher m{word};
  m.literal("i");
  if (m.literal("q")) {
    if (m.rest.empty() || !is_digit(m.rest[0])) return false;
    m.rest.remove_prefix(1);
    while (m.rest.size() >= 2 && m.rest[0] == '_' &&
           (is_digit(m.rest[1]) || is_alpha(m.rest[1]) || m.rest[1] == '_'))
      m.rest.remove_prefix(2);
    return m.done();
  }
  m = {word};
  m.literal("b");
  if (!m.literal("f")) return false;
  m.literal("p");
  return (m.literal("16") || m.literal("32")) && m.done();
}

/// 8b, 8x7b, a22b, 1.5b, 7b1
bool is_numeric_size(std::string_view word) {
  Matcher m{word};
  if (!m.literal("a")) {
    const auto before = m;
    if (!(m.digits() && m.literal("x"))) m = before;
  }
  if (!m.digits()) return false;
  if (m.rest.size() > 1 && (m.rest[0] == '.' || m.rest[0] == '_') && is_digit(m.rest[1])) {
    m.rest.remove_prefix(1);
    m.digits();
  }
  if (m.rest.empty() || std::string_view("kmbt").find(m.rest[0]) == std::string_view::npos)
    return false;
  m.rest.remove_prefix(1);
  if (!m.rest.empty() && is_digit(m.rest[0])) m.rest.remove_prefix(1);
  return m.done();
}

template <class... Words>
bool is_one_of(std::string_view word, Words... words) {
  return ((word == words) || ...);
}

struct Part {
  std::string text;
  bool basename = false, size = false, finetune = false, version = false, type = false;
  bool unclassified() const { return !basename && !size && !finetune && !version && !type; }
};

/// Brings a size to its usual form; finds those that must be a context length.
void classify_size(Part& part, std::uint64_t parameters) {
  auto& t = part.text;
  std::replace(t.begin(), t.end(), '_', '.');
  if (is_digit(t.back()))  // 7b1 is 7.1b
    t = t.substr(0, t.size() - 2) + "." + t.back() + t[t.size() - 2];
  if (t.size() > 1 && is_digit(t[t.size() - 2])) t.back() = upper(t.back());
  part.size = true;
  if (parameters == 0) return;
  double label = 0;
  const auto* end = t.data() + t.size() - 1;
  if (const auto r = std::from_chars(t.data(), end, label); r.ec != std::errc() || r.ptr != end)
    return;
  const auto power = std::string_view(" KMBT").find(t.back());
  label *= std::pow(1000.0, power == std::string_view::npos ? -1.0 : static_cast<double>(power));
  const double limit = std::floor(7.0 * static_cast<double>(parameters) / 8.0);
  if (std::fabs(label - static_cast<double>(parameters)) > limit) {
    part.size = false;
    part.finetune = true;
    t.back() = lower(t.back());
  }
}

void classify(std::vector<Part>& parts, std::uint64_t parameters) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    auto& part = parts[i];
    const auto word = lowered(part.text);
    if (is_version(word)) {
      part.version = true;
    } else if (is_storage_type(word)) {
      part.type = true;
      std::transform(part.text.begin(), part.text.end(), part.text.begin(), upper);
    } else if (i > 0 && (is_numeric_size(word) ||
                         is_one_of(word, "small", "mini", "medium", "large", "xl", "xxl"))) {
      classify_size(part, parameters);
    } else if (i > 0 && is_one_of(word, "chat", "instruct", "vision", "lora")) {
      part.finetune = true;
    }
  }
  const bool numeric = std::any_of(parts.begin(), parts.end(), [](const Part& p) {
    return p.size && std::any_of(p.text.begin(), p.text.end(), is_digit);
  });
  if (numeric)
    for (auto& p : parts)
      if (std::all_of(p.text.begin(), p.text.end(), is_alpha)) p.size = false;
}

/// The leading run of plain words and versions is the base name, without versions at its end.
void find_basename(std::vector<Part>& parts) {
  bool at_start = true;
  for (auto& p : parts) {
    if (at_start && ((p.unclassified() && is_alpha(p.text[0])) || p.version)) {
      p.basename = true;
    } else {
      at_start = false;
      if (p.unclassified()) p.finetune = true;
    }
  }
  for (auto p = parts.rbegin(); p != parts.rend() && p->basename && p->version; ++p)
    p->basename = false;
}

template <class Wanted>
std::optional<std::string> joined(const std::vector<Part>& parts, const Wanted& wanted) {
  std::string out;
  for (const auto& p : parts)
    if (wanted(p)) out += (out.empty() ? "" : "-") + p.text;
  return out.empty() ? std::nullopt : std::optional(out);
}

std::optional<std::string> joined_sizes(const std::vector<Part>& parts) {
  std::vector<std::string> seen;
  std::string out;
  for (const auto& p : parts) {
    if (!p.size || std::find(seen.begin(), seen.end(), p.text) != seen.end()) continue;
    seen.push_back(p.text);
    out += (out.empty() ? "" : "-") + p.text;
  }
  return out.empty() ? std::nullopt : std::optional(out);
}

}  // namespace

ModelId parse_model_id(std::string_view id, std::uint64_t parameters) {
  ModelId result;
  if (id.find(' ') != std::string_view::npos) {  // a sentence, not an identifier
    result.name = id;
    return result;
  }
  if (const auto slash = id.find('/'); slash != std::string_view::npos) {
    const auto organization = id.substr(0, slash);
    if (!organization.starts_with('.')) result.organization = organization;
    id.remove_prefix(slash + 1);
  }
  result.name = id;
  std::vector<Part> parts;
  for (std::size_t begin = 0; begin <= id.size();) {
    const auto end = std::min(id.find('-', begin), id.size());
    if (end > begin) {
      parts.emplace_back();
      parts.back().text = id.substr(begin, end - begin);
    }
    begin = end + 1;
  }
  classify(parts, parameters);
  find_basename(parts);
  result.basename = joined(parts, [](const Part& p) { return p.basename; });
  result.finetune = joined(parts, [](const Part& p) { return p.finetune; });
  result.version = joined(parts, [](const Part& p) { return p.version && !p.basename; });
  result.size_label = joined_sizes(parts);
  if (!result.size_label && !result.finetune && !result.version) result.basename = std::nullopt;
  return result;
}

std::string title_of(std::string_view id) {
  const auto is_space = [](char c) { return c == ' ' || c == '-' || (c >= '\t' && c <= '\r'); };
  std::string out;
  for (std::size_t at = 0; at < id.size();) {
    if (is_space(id[at])) {
      ++at;
      continue;
    }
    auto end = at;
    while (end < id.size() && !is_space(id[end])) ++end;
    std::string word(id.substr(at, end - at));
    at = end;
    const bool has_lower =
        std::any_of(word.begin(), word.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    const bool is_lower = has_lower && word == lowered(word);
    const bool keeps = is_digit(word[0]) || (word[0] == 'v' && is_version(word));
    if (is_lower && !keeps)
      for (std::size_t i = 0; i < word.size(); ++i)
        if (i == 0 || !is_alpha(word[i - 1])) word[i] = upper(word[i]);
    if (!out.empty()) out += ' ';
    out += word;
  }
  return out;
}

std::string size_label(std::uint64_t parameters) {
  const auto n = static_cast<double>(parameters);
  const double scaled = n > 1e12 ? n * 1e-12 : n > 1e9 ? n * 1e-9 : n > 1e6 ? n * 1e-6 : n * 1e-3;
  const char suffix = n > 1e12 ? 'T' : n > 1e9 ? 'B' : n > 1e6 ? 'M' : 'K';
  const double rounded = std::nearbyint(scaled);
  const int digits = rounded == 0 ? 0 : rounded < 10 ? 1 : 2;
  std::array<char, 64> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), scaled,
                                 std::chars_format::fixed, 2 - digits);
  return std::string(text.data(), end.ptr) + suffix;
}

std::string conventional_file_name(const FileNameParts& parts) {
  const auto dashed = [](std::string text, bool slashes) {
    const auto first = text.find_first_not_of(" \t\n");
    text = first == std::string::npos
               ? ""
               : text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
    for (auto& c : text)
      if (c == ' ' || (slashes && c == '/')) c = '-';
    return text;
  };
  std::string out = parts.basename ? dashed(*parts.basename, true)
                    : parts.name   ? dashed(*parts.name, true)
                                   : "ggml-model";
  if (parts.size_label) out += "-" + *parts.size_label;
  if (parts.finetune) out += "-" + dashed(*parts.finetune, false);
  if (parts.version) out += "-" + dashed(*parts.version, false);
  for (const auto& part : {parts.encoding, parts.kind})
    if (!part.empty()) out += "-" + part;
  // Names come from files: the rest of the path is not theirs to choose.
  std::replace(out.begin(), out.end(), '/', '-');
  return out;
}

}  // namespace lq
