#include "lib/text/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/text/tokenizer_keys.h"

namespace lq {
namespace {

namespace keys = tokenizer_keys;

// Texts of tokens that end a turn or a text.
constexpr std::string_view kEndOfTurn[] = {"<|eot_id|>",
                                           "<|im_end|>",
                                           "<|end|>",
                                           "<end_of_turn>",
                                           "<|endoftext|>",
                                           "<|end_of_text|>",
                                           "<EOT>",
                                           "_<EOT>",
                                           "[EOT]",
                                           "<\xEF\xBD\x9C"
                                           "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
                                           "<end_of_utterance>"};
constexpr std::string_view kMoreEnds[] = {
    "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",        "</s>", "<|eom_id|>",
    "[EOS]",      "<eos>",    "<turn|>",   "<|tool_response>", "[e~["};
constexpr std::string_view kPadTexts[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>",
                                          "[PAD]"};
constexpr std::string_view kRepTexts[] = {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>",
                                          "<reponame>"};
constexpr std::string_view kSepTexts[] = {"<|file_sep|>"};

/// The id under `key`, nothing when the key is absent or says "none".
std::optional<TokenId> find_id(const Metadata& metadata, std::string_view key, int size) {
  const auto id = metadata.find_integer(key, std::numeric_limits<std::int64_t>::min(),
                                        std::numeric_limits<std::int64_t>::max());
  constexpr std::int64_t kNone = 4294967295;
  if (!id || *id == -1 || *id == kNone) return std::nullopt;
  if (*id < 0 || *id >= size)
    fail(ErrorKind::input, metadata.file_name(), ": ", key, " is ", *id,
         "; expected a token of the vocabulary, 0 to ", size - 1);
  return static_cast<TokenId>(*id);
}

}  // namespace

Vocabulary::Vocabulary(const Metadata& metadata, const VocabularyDefaults& defaults)
    : texts_(metadata.strings(keys::kTokens)) {
  if (texts_.empty() || texts_.size() > std::size_t{std::numeric_limits<TokenId>::max()})
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kTokens, " has ", texts_.size(),
         " tokens; expected at least one");
  by_text_.reset(texts_.size());
  const auto text_of = [this](std::uint32_t i) -> std::string_view { return texts_[i]; };
  for (std::uint32_t i = 0; i < texts_.size(); ++i) {
    if (texts_[i].empty()) texts_[i] = "[EMPTY_" + std::to_string(i) + "]";
    const std::uint32_t first = by_text_.insert(texts_[i], i, text_of);
    if (first != i)
      fail(ErrorKind::input, metadata.file_name(), ": ", keys::kTokens, ": tokens ", first, " and ",
           i, " have the same text; every text may occur once");
  }
  read_types(metadata);
  read_ids(metadata, defaults);
  find_ends(metadata);
}

void Vocabulary::read_types(const Metadata& metadata) {
  types_.assign(texts_.size(), TokenType::normal);
  const auto stored = metadata.find_integers(keys::kTokenType);
  if (!stored) return;
  const ValueType element = metadata.find(keys::kTokenType)->element;
  if (element != ValueType::i32 && element != ValueType::u32)
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kTokenType, " is an array of ",
         name_of(element), "; expected i32");
  if (stored->size() != texts_.size())
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kTokenType, " has ", stored->size(),
         " elements; expected one for each of the ", texts_.size(), " tokens");
  for (std::size_t i = 0; i < types_.size(); ++i) {
    const std::int64_t type = (*stored)[i];
    if (type < 0 || type > 6)
      fail(ErrorKind::input, metadata.file_name(), ": ", keys::kTokenType, "[", i, "] is ", type,
           "; expected 1 to 6");
    if (type != 0) types_[i] = static_cast<TokenType>(type);
    if (types_[i] == TokenType::byte && !byte_of_token_text(texts_[i]))
      fail(ErrorKind::input, metadata.file_name(), ": ", keys::kTokens, "[", i, "] is ",
           quote(texts_[i]), " and marked as a byte; expected <0x00> to <0xFF>");
  }
}

void Vocabulary::read_ids(const Metadata& metadata, const VocabularyDefaults& defaults) {
  const auto id_or = [&](std::string_view key, std::optional<TokenId> otherwise) {
    if (metadata.has(key)) return find_id(metadata, key, size());
    return otherwise && *otherwise < size() ? otherwise : std::nullopt;
  };
  bos = id_or(keys::kBos, defaults.bos);
  eos = id_or(keys::kEos, defaults.eos);
  unknown = id_or(keys::kUnknown, defaults.unknown);
  const auto wanted_bos = metadata.find_bool(keys::kAddBos);
  const auto wanted_eos = metadata.find_bool(keys::kAddEos);
  if (wanted_bos.value_or(false) && !bos)
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kAddBos, " is true, but ", keys::kBos,
         " names no token");
  if (wanted_eos.value_or(false) && !eos)
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kAddEos, " is true, but ", keys::kEos,
         " names no token");
  add_bos = wanted_bos.value_or(defaults.add_bos) && bos;
  add_eos = wanted_eos.value_or(false);
}

void Vocabulary::find_ends(const Metadata& metadata) {
  ends_.assign(texts_.size(), false);
  const auto mark = [this](std::optional<TokenId> id) {
    if (id) ends_[static_cast<std::size_t>(*id)] = true;
  };
  // Ordinary tokens may happen to have such a text ("</s>" of HTML); "<|...|>" never does.
  const auto mark_text = [&](std::string_view text) {
    const auto id = find(text);
    if (!id) return;
    TokenType& kind = types_[static_cast<std::size_t>(*id)];
    if (kind == TokenType::normal && !text.starts_with("<|")) return;
    if (kind == TokenType::normal) kind = TokenType::control;
    mark(id);
  };
  const auto mark_key = [&](std::string_view key, std::span<const std::string_view> texts) {
    if (metadata.has(key)) return mark(find_id(metadata, key, size()));
    for (const std::string_view text : texts) mark_text(text);
  };
  mark(eos);
  mark_key(keys::kEot, {});
  mark_key(keys::kEom, {});
  mark_key(keys::kFimPad, kPadTexts);
  mark_key(keys::kFimRep, kRepTexts);
  mark_key(keys::kFimSep, kSepTexts);
  for (const std::string_view text : kEndOfTurn) mark_text(text);
  for (const std::string_view text : kMoreEnds) mark_text(text);
  // gpt-oss: <|end|> ends a part of an answer only.
  const auto end = find("<|end|>");
  if (end && find("<|return|>") && find("<|call|>")) ends_[static_cast<std::size_t>(*end)] = false;
}

std::optional<TokenId> Vocabulary::find(std::string_view text) const {
  const auto found =
      by_text_.find(text, [this](std::uint32_t i) -> std::string_view { return texts_[i]; });
  if (!found) return std::nullopt;
  return static_cast<TokenId>(*found);
}

std::optional<unsigned char> byte_of_token_text(std::string_view text) noexcept {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  int byte = 0;
  for (const char c : text.substr(3, 2)) {
    if (c >= '0' && c <= '9')
      byte = byte * 16 + (c - '0');
    else if (c >= 'A' && c <= 'F')
      byte = byte * 16 + (c - 'A' + 10);
    else
      return std::nullopt;
  }
  return static_cast<unsigned char>(byte);
}

std::string byte_token_text(unsigned char byte) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  for (;;) {
    const std::size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

}  // namespace lq
