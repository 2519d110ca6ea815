#include "lib/text/tokenizer.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/text/tokenizer_base.h"
#include "lib/text/tokenizer_keys.h"

namespace lq {
namespace {

namespace keys = tokenizer_keys;

constexpr std::pair<std::string_view, SpacePrefix> kSpacePrefixes[] = {
    {"never", SpacePrefix::never},
    {"every", SpacePrefix::every},
    {"every-unless", SpacePrefix::every_unless},
    {"first", SpacePrefix::first},
    {"first-unless", SpacePrefix::first_unless}};

SpacePrefix space_prefix_of(const std::string& name, const Metadata& metadata) {
  for (const auto& [text, value] : kSpacePrefixes)
    if (text == name) return value;
  fail(ErrorKind::input, metadata.file_name(), ": ", keys::kSpacePrefix, " is \"", name,
       "\"; expected never, every, every-unless, first or first-unless");
}

std::string collapsed(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out += c;
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

/// id -> flags of tokenizer.lq.added_tokens.
std::vector<std::int32_t> read_flags(const Metadata& metadata, int size) {
  std::vector<std::int32_t> flags(static_cast<std::size_t>(size), 0);
  const auto stored = metadata.find_integers(keys::kAddedTokens);
  if (!stored) return flags;
  const auto refuse = [&](std::size_t at, const char* expected) {
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kAddedTokens, "[", at, "] is ",
         (*stored)[at], "; expected ", expected);
  };
  if (stored->size() % 2 != 0)
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kAddedTokens, " has ", stored->size(),
         " elements; expected pairs of id and flags");
  for (std::size_t i = 0; i < stored->size(); i += 2) {
    if ((*stored)[i] < 0 || (*stored)[i] >= size) refuse(i, "a token of the vocabulary");
    if ((*stored)[i + 1] < 0 || (*stored)[i + 1] > 15) refuse(i + 1, "flags from 0 to 15");
    flags[static_cast<std::size_t>((*stored)[i])] = static_cast<std::int32_t>((*stored)[i + 1]);
  }
  return flags;
}

bool stands_in_text(TokenType type) {
  return type == TokenType::control || type == TokenType::user_defined ||
         type == TokenType::unknown;
}

}  // namespace

bool WordCache::append(std::string_view word, std::vector<TokenId>& out) const {
  const auto found = table_.find(word, [this](std::uint32_t i) { return word_of(i); });
  if (!found) return false;
  const Entry& entry = entries_[*found];
  const auto begin = ids_.begin() + static_cast<std::ptrdiff_t>(entry.ids);
  out.insert(out.end(), begin, begin + static_cast<std::ptrdiff_t>(entry.n_ids));
  return true;
}

void WordCache::remember(std::string_view word, std::span<const TokenId> ids) {
  constexpr std::size_t kMostBytes = 64;
  constexpr std::size_t kMostWords = std::size_t{1} << 18;
  if (word.size() > kMostBytes || entries_.size() >= kMostWords) return;
  entries_.push_back({words_.size(), word.size(), ids_.size(), ids.size()});
  words_ += word;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  table_.insert(word, static_cast<std::uint32_t>(entries_.size() - 1),
                [this](std::uint32_t i) { return word_of(i); });
}

TextRules read_text_rules(const Metadata& metadata, const TextRules& defaults) {
  TextRules rules = defaults;
  if (const auto name = metadata.find_string(keys::kNormalizer)) {
    const auto form = normal_form(*name);
    if (!form)
      fail(ErrorKind::input, metadata.file_name(), ": ", keys::kNormalizer, " is \"", *name,
           "\"; expected none, nfc, nfd, nfkc or nfkd");
    rules.normal_form = *form;
  }
  if (const auto add = metadata.find_bool(keys::kAddSpacePrefix); add && rules.metaspace)
    rules.space_prefix = *add ? SpacePrefix::every : SpacePrefix::never;
  if (const auto name = metadata.find_string(keys::kSpacePrefix))
    rules.space_prefix = space_prefix_of(*name, metadata);
  rules.collapse_spaces =
      rules.metaspace && metadata.find_bool(keys::kRemoveExtraWhitespaces).value_or(false);
  return rules;
}

TokenizerBase::TokenizerBase(const Metadata& metadata, const VocabularyDefaults& defaults,
                             const TextRules& rules)
    : vocabulary_(metadata, defaults), rules_(rules) {
  find_specials(metadata);
}

void TokenizerBase::find_specials(const Metadata& metadata) {
  const std::vector<std::int32_t> flags = read_flags(metadata, size());
  for (TokenId id = 0; id < size(); ++id) {
    if (!stands_in_text(token_type(id))) continue;
    const bool always = token_type(id) == TokenType::user_defined;
    const std::int32_t own = flags[static_cast<std::size_t>(id)];
    if ((own & keys::kNormalized) == 0) {
      in_text_.add(token_text(id), id, own, always);
    } else if (const std::string text = prepare(token_text(id), false); !text.empty()) {
      in_prepared_.add(text, id, own, always);
      prepared_[id] = rules_.metaspace ? replace_all(text, kMetaspace, " ") : text;
    }
  }
}

std::string TokenizerBase::prepare(std::string_view text, bool at_start) const {
  std::string out = normalize(text, rules_.normal_form);
  if (rules_.collapse_spaces) out = collapsed(out);
  const bool prefix = rules_.space_prefix == SpacePrefix::every ||
                      (rules_.space_prefix == SpacePrefix::first && at_start);
  if (prefix && !out.empty()) out.insert(0, 1, ' ');
  if (!rules_.metaspace) return out;
  out = replace_all(out, " ", kMetaspace);
  // SentencePiece trims last, so that U+2581 of the text itself goes, too.
  if (rules_.collapse_spaces)
    while (out.ends_with(kMetaspace)) out.erase(out.size() - kMetaspace.size());
  return out;
}

void TokenizerBase::encode_piece(std::string_view text, bool at_start, WordCache& cache,
                                 std::vector<TokenId>& out) const {
  const bool wanted = rules_.space_prefix == SpacePrefix::every_unless ||
                      (rules_.space_prefix == SpacePrefix::first_unless && at_start);
  if (!wanted || text.starts_with(' ') || text.starts_with(kMetaspace))
    return encode_text(text, cache, out);
  encode_text(std::string(rules_.metaspace ? kMetaspace : " ").append(text), cache, out);
}

void TokenizerBase::encode_raw(std::string_view text, bool at_start, bool parse_special,
                               WordCache& cache, std::vector<TokenId>& out) const {
  const std::string prepared = prepare(text, at_start);
  std::vector<Fragment> fragments;
  in_prepared_.split(prepared, parse_special, fragments);
  for (const Fragment& fragment : fragments) {
    if (fragment.id >= 0)
      out.push_back(fragment.id);
    else
      encode_piece(fragment.text, at_start && fragment.text.data() == prepared.data(), cache, out);
  }
}

std::vector<TokenId> TokenizerBase::encode(std::string_view text, EncodeOptions options) const {
  constexpr std::size_t kMostBytes = std::size_t{1} << 30;
  if (text.size() > kMostBytes)
    fail(ErrorKind::resource, "a text of ", text.size(), " bytes is too long to encode at once; ",
         kMostBytes, " bytes are the most");
  std::vector<TokenId> out;
  WordCache cache;
  if (options.add_special && vocabulary_.add_bos) out.push_back(*vocabulary_.bos);
  std::vector<Fragment> fragments;
  in_text_.split(text, options.parse_special, fragments);
  // SentencePiece puts the space before a token that begins the text, too.
  if (rules_.space_prefix == SpacePrefix::first && !fragments.empty() && fragments[0].id >= 0)
    encode_text(rules_.metaspace ? kMetaspace : " ", cache, out);
  for (const Fragment& fragment : fragments) {
    if (fragment.id >= 0)
      out.push_back(fragment.id);
    else
      encode_raw(fragment.text, fragment.text.data() == text.data(), options.parse_special, cache,
                 out);
  }
  if (options.add_special && vocabulary_.add_eos) out.push_back(*vocabulary_.eos);
  return out;
}

std::string TokenizerBase::piece(TokenId id, bool special) const {
  const TokenType type = token_type(id);
  if (!special && (type == TokenType::control || type == TokenType::unknown)) return {};
  if (stands_in_text(type)) {
    const auto prepared = prepared_.find(id);
    return prepared != prepared_.end() ? prepared->second : std::string(token_text(id));
  }
  if (type == TokenType::byte)
    if (const auto byte = byte_of_token_text(token_text(id)))
      return std::string(1, static_cast<char>(*byte));
  return ordinary_piece(id);
}

std::string TokenizerBase::decode(std::span<const TokenId> ids, bool special) const {
  std::string out;
  for (const TokenId id : ids) out += piece(id, special);
  if (rules_.metaspace && rules_.space_prefix != SpacePrefix::never && out.starts_with(' '))
    out.erase(0, 1);
  return out;
}

std::unique_ptr<Tokenizer> make_tokenizer(const Metadata& metadata) {
  const std::string& model = metadata.string(keys::kModel);
  if (model == "llama") return make_spm_tokenizer(metadata);
  if (model == "gpt2" || model == "gemma4") return make_bpe_tokenizer(metadata, model);
  fail(ErrorKind::unsupported, metadata.file_name(), ": ", keys::kModel, " is \"", model,
       "\"; supported are llama (SentencePiece), gpt2 and gemma4 (byte-pair encoding)");
}

}  // namespace lq
