// Which pre-tokenizer a checkpoint has: by its definition, else by what it does to a fixed text.
#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/base/sha256.h"
#include "lib/jobs/convert_vocabulary.h"
#include "lib/text/pretokenizers.h"
#include "lib/text/tokenizer.h"
#include "lib/text/tokenizer_keys.h"
#include "lib/text/unicode.h"

namespace lq {
namespace {

// What parts without a pattern of their own split by.
constexpr std::string_view kDigit = "\\p{N}", kDigits = "\\p{N}+",
                           kPunctuation = R"(\p{P}|[!-/:-@\[-`{-~])";

/// The pre-tokenizer, taken apart.
struct Definition {
  std::vector<std::string> patterns;
  bool removes_matches =
      false;                ///< Split with "Removed" and invert: the same split, said otherwise
  std::string unsupported;  ///< the first part that no pattern can say, or empty
};

std::string quoted_pattern(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\^$.|?*+()[]{}-#").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

void read_split(const JsonObject& part, Definition& d) {
  const auto pattern = part.object("pattern");
  const auto behavior = part.string("behavior").value_or("");
  const bool invert = part.boolean("invert").value_or(false);
  const bool isolated = behavior == "Isolated" && !invert;
  const bool removed = behavior == "Removed" && invert;
  const auto regex = pattern.string("Regex"), text = pattern.string("String");
  if (regex && (isolated || removed)) {
    d.patterns.push_back(*regex);
    d.removes_matches = d.removes_matches || removed;
  } else if (text && isolated) {
    d.patterns.push_back(quoted_pattern(*text));
  } else {
    d.unsupported = "Split with behavior " + quote(behavior, 40);
  }
}

void read_part(const JsonObject& part, int depth, Definition& d) {
  const auto type = part.string("type").value_or("");
  if (!d.unsupported.empty() || part.empty()) return;
  if (type == "Sequence" && depth < 8) {
    if (const auto* list = part.list("pretokenizers"))
      for (const auto& item : *list) read_part({&item, part.where()}, depth + 1, d);
  } else if (type == "Split") {
    read_split(part, d);
  } else if (type == "Digits") {
    d.patterns.emplace_back(part.boolean("individual_digits").value_or(false) ? kDigit : kDigits);
  } else if (type == "Punctuation" && part.string("behavior").value_or("Isolated") == "Isolated") {
    d.patterns.emplace_back(kPunctuation);
  } else if (type == "ByteLevel") {
    if (part.boolean("use_regex").value_or(true))
      d.patterns.emplace_back(tokenizer_keys::kByteLevelPattern);
  } else {
    d.unsupported = quote(type, 40);
  }
}

Definition read_definition(const JsonObject& tokenizer) {
  Definition d;
  read_part(tokenizer.object("pre_tokenizer"), 0, d);
  return d;
}

/// Characters outside ASCII as \x{HEX}, so that two spellings of a pattern compare equal.
std::string canonical(std::string_view pattern) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (std::size_t at = 0; at < pattern.size();) {
    const auto c = utf8_at(pattern, at);
    const auto bytes = static_cast<std::size_t>(c.bytes > 0 ? c.bytes : 1);
    if (bytes == 1) {
      out += pattern[at];
    } else {
      out += "\\x{";
      bool leading = true;
      for (int shift = 20; shift >= 0; shift -= 4) {
        const auto digit = (static_cast<std::uint32_t>(c.code_point) >> shift) & 15;
        leading = leading && digit == 0;
        if (!leading) out += kHex[digit];
      }
      out += '}';
    }
    at += bytes;
  }
  return out;
}

bool same_patterns(const PreTokenizerInfo& row, const std::vector<std::string>& patterns) {
  const auto known = patterns_of(row);
  if (known.size() != patterns.size()) return false;
  for (std::size_t i = 0; i < known.size(); ++i)
    if (canonical(patterns[i]) != canonical(known[i])) return false;
  return true;
}

/// Which of the names of one family is meant. Rows of a family are tried in order; a family without
/// rows has the first name of its own in the list of pre-tokenizers.
struct NameRule {
  std::string_view family;
  std::string_view model_type;  ///< of config.json; empty: any
  bool removed, adds_bos;       ///< false: any
  std::string_view name;
};
constexpr NameRule kNameRules[] = {
    {"llama3", "glm4", false, false, "glm4"},         {"llama3", "", true, false, "dbrx"},
    {"llama3", "", false, true, "llama-bpe"},         {"llama3", "", false, false, "smaug-bpe"},
    {"starcoder", "granite", false, false, "refact"},
};

/// Text on which pre-tokenizers differ. Its bytes are part of the table of hashes.
constexpr std::string_view kProbe =
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n\U0001f680 (normal) \U0001f636\u200d"
    "\U0001f32b\ufe0f (multiple emojis concatenated) \u2705 \U0001f999\U0001f999 3 33 333 333"
    "3 33333 333333 3333333 33333333 3.3 3..3 3...3 \u1780\u17b6\u1793\u17cb\u178f\u17c2"
    "\u1796\u17b7\u179f\u17c1\u179f\u17a2\u17b6\u1785\U0001f601 ?\u6211\u60f3\u5728apple"
    "\u5de5\u4f5c1314151\u5929\uff5e ------======= \u043d\u0435\u0449\u043e \u043d\u0430 "
    "\u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438 ''''''```````\"\"\"\"......!!!!!!"
    "?????? I've been 'told he's there, 'RE you sure? 'M not sure I'll make it, 'D you like s"
    "ome tea? We'Ve a'lL";

struct KnownHash {
  std::string_view hash, name;
};
constexpr KnownHash kKnownHashes[] = {
#define LQ_PRE_HASH(hash, name) {hash, name},
#include "lib/jobs/pre_hashes.def"
#undef LQ_PRE_HASH
};

/// \x{HEX} of characters outside ASCII as these characters: models have them so.
std::string spelled_out(std::string_view pattern) {
  std::string out;
  for (std::size_t at = 0; at < pattern.size();) {
    std::uint32_t code_point = 0;
    const auto begin = pattern.substr(at).starts_with("\\x{") ? at + 3 : pattern.npos;
    const auto end = begin == pattern.npos ? begin : pattern.find('}', begin);
    const auto digits =
        end == pattern.npos ? std::string_view() : pattern.substr(begin, end - begin);
    const auto parsed =
        std::from_chars(digits.data(), digits.data() + digits.size(), code_point, 16);
    const bool whole = !digits.empty() && parsed.ptr == digits.data() + digits.size();
    if (whole && code_point >= 0x80 && code_point < 0xD800) {
      append_utf8(static_cast<char32_t>(code_point), out);
      at = end + 1;
    } else if (whole && code_point > 0xDFFF && code_point <= 0x10FFFF) {
      append_utf8(static_cast<char32_t>(code_point), out);
      at = end + 1;
    } else {
      out += pattern[at++];
    }
  }
  return out;
}

OrderedJson part_of_pattern(const std::string& pattern, bool removes) {
  if (pattern == kDigit || pattern == kDigits)
    return {{"type", "Digits"}, {"individual_digits", pattern == kDigit}};
  if (pattern == kPunctuation) return {{"type", "Punctuation"}, {"behavior", "Isolated"}};
  return {{"type", "Split"},
          {"pattern", {{"Regex", spelled_out(pattern)}}},
          {"behavior", removes ? "Removed" : "Isolated"},
          {"invert", removes}};
}

/// The name that the table has for these ids, or an empty one.
std::string_view known_name(std::span<const TokenId> ids) {
  std::string list = "[";
  for (const auto id : ids) list += (list.size() > 1 ? ", " : "") + std::to_string(id);
  list += "]";
  const auto hash = sha256_hex(std::as_bytes(std::span(list)));
  for (const auto& row : kKnownHashes)
    if (row.hash == hash) return row.name;
  return {};
}

}  // namespace

std::optional<std::string> pre_of_definition(const JsonObject& tokenizer,
                                             const std::string& model_type, bool adds_bos) {
  const auto d = read_definition(tokenizer);
  if (!d.unsupported.empty() || d.patterns.empty()) return std::nullopt;
  for (const auto& row : all_pretokenizers()) {
    if (row.name == "default" || !same_patterns(row, d.patterns)) continue;
    for (const auto& rule : kNameRules)
      if (rule.family == row.family && (rule.model_type.empty() || rule.model_type == model_type) &&
          (!rule.removed || d.removes_matches) && (!rule.adds_bos || adds_bos))
        return std::string(rule.name);
    return std::string(row.name);
  }
  return std::nullopt;
}

std::optional<std::string> pre_of_probe(const Metadata& metadata) {
  // Hashes include the token that begins a text: the declared one, or the first id after the
  // vocabulary in files that carry no special tokens.
  std::vector<TokenId> beginnings = {
      static_cast<TokenId>(metadata.strings(tokenizer_keys::kTokens).size())};
  if (const auto bos = metadata.find_integer(tokenizer_keys::kBos, 0, INT32_MAX))
    beginnings.push_back(static_cast<TokenId>(*bos));
  std::string_view last_family;
  auto candidate = metadata;
  for (const auto& row : all_pretokenizers()) {
    if (row.name == "default" || row.family == last_family) continue;  // families stand together
    last_family = row.family;
    candidate.set(tokenizer_keys::kPre, Value::of_string(std::string(row.name)));
    const auto plain = make_tokenizer(candidate)->encode(kProbe, {});
    auto ids = plain;
    ids.insert(ids.begin(), 0);
    for (const auto first : beginnings) {
      ids[0] = first;
      if (const auto name = known_name(ids); !name.empty()) return std::string(name);
    }
    if (const auto name = known_name(plain); !name.empty()) return std::string(name);
  }
  return std::nullopt;
}

OrderedJson definition_of_patterns(std::span<const std::string> patterns, std::string_view pre,
                                   bool add_prefix_space) {
  const bool removes = std::any_of(std::begin(kNameRules), std::end(kNameRules),
                                   [&](const NameRule& r) { return r.name == pre && r.removed; });
  OrderedJson parts = OrderedJson::array();
  bool use_regex = false;
  for (const std::string& pattern : patterns) {
    // Groups from the right and scripts are said in ways of our own.
    if (use_regex || pattern.starts_with('@') || pattern.find("\\p{sc:") != pattern.npos)
      return nullptr;
    use_regex = pattern == tokenizer_keys::kByteLevelPattern;
    if (!use_regex) parts.push_back(part_of_pattern(pattern, removes));
  }
  parts.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", add_prefix_space},
                   {"trim_offsets", true},
                   {"use_regex", use_regex}});
  if (parts.size() == 1) return parts[0];
  return {{"type", "Sequence"}, {"pretokenizers", parts}};
}

std::vector<std::string> patterns_of_definition(const JsonObject& tokenizer) {
  auto d = read_definition(tokenizer);
  if (!d.unsupported.empty())
    fail(ErrorKind::unsupported, tokenizer.where(), ": pre_tokenizer: ", d.unsupported,
         " is not supported; name a known pre-tokenizer with --pre");
  return std::move(d.patterns);
}

}  // namespace lq
