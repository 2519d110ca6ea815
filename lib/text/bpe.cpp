// Byte-pair encoding: words are merged pair by pair, lowest rank first.
#include <algorithm>
#include <array>
#include <memory>
#include <queue>

#include "lib/base/error.h"
#include "lib/text/pretokenizers.h"
#include "lib/text/tokenizer_base.h"
#include "lib/text/tokenizer_keys.h"

namespace lq {
namespace {

namespace keys = tokenizer_keys;

/// A number for every text that merging can meet. [0, tokens) are tokens, the next 256 are bytes
/// that no token spells, the rest are texts that occur in merges only.
using Symbol = std::uint32_t;
using Rank = std::uint32_t;
constexpr Rank kNoRank = ~Rank{0};

/// The character that stands for each byte in a byte-level vocabulary (GPT-2's alphabet).
std::array<char32_t, 256> byte_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 256;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    alphabet[b] = printable ? b : next++;
  }
  return alphabet;
}

/// Characters of `text`; an invalid byte counts as one.
std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at < text.size(); at += out.back().size()) {
    const int bytes = utf8_at(text, at).bytes;
    out.push_back(text.substr(at, bytes == 0 ? 1 : static_cast<std::size_t>(bytes)));
  }
  return out;
}

/// Ranks by pair of symbols: open addressing, no deletion.
class PairTable {
 public:
  explicit PairTable(std::size_t expected)
      : slots_(std::bit_ceil(expected * 2 + 8)), shift_(64 - std::countr_zero(slots_.size())) {}

  /// Keeps the rank that a pair was first inserted with.
  void insert(Symbol left, Symbol right, Rank rank) {
    const std::uint64_t key = key_of(left, right);
    std::size_t at = slot_of(key);
    for (; slots_[at].rank != kNoRank; at = (at + 1) & (slots_.size() - 1))
      if (slots_[at].key == key) return;
    slots_[at] = {key, rank};
  }

  Rank find(Symbol left, Symbol right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t at = slot_of(key); slots_[at].rank != kNoRank;
         at = (at + 1) & (slots_.size() - 1))
      if (slots_[at].key == key) return slots_[at].rank;
    return kNoRank;
  }

 private:
  struct Slot {
    std::uint64_t key = 0;
    Rank rank = kNoRank;
  };
  static std::uint64_t key_of(Symbol left, Symbol right) {
    return (std::uint64_t{left} << 32) | right;
  }
  std::size_t slot_of(std::uint64_t key) const { return (key * 0x9E3779B97F4A7C15u) >> shift_; }

  std::vector<Slot> slots_;
  int shift_;
};

struct Merge {
  Symbol left, right, result;
};

struct BpeRules {
  TextRules text;
  VocabularyDefaults defaults;
  Spelling spelling = Spelling::bytes;
  bool ignore_merges = false;
  std::vector<std::string> patterns;
};

/// What the metadata says: the row of tokenizer.ggml.pre and our own keys.
BpeRules read_rules(const Metadata& metadata, std::string_view model) {
  const std::string pre =
      metadata.find_string(keys::kPre).value_or(model == "gemma4" ? "gemma4" : "default");
  const PreTokenizerInfo* row = find_pretokenizer(pre);
  if (row == nullptr) {
    std::string known;
    for (const PreTokenizerInfo& each : all_pretokenizers()) known.append(" ").append(each.name);
    fail(ErrorKind::unsupported, metadata.file_name(), ": ", keys::kPre, " is \"", pre,
         "\"; supported are", known);
  }
  BpeRules rules;
  rules.spelling = model == "gemma4" ? Spelling::metaspace : row->spelling;
  rules.defaults.add_bos = row->add_bos || model == "gemma4";
  rules.text.normal_form = row->nfc ? NormalForm::nfc : NormalForm::none;
  rules.text.metaspace = rules.spelling == Spelling::metaspace;
  rules.text = read_text_rules(metadata, rules.text);
  rules.ignore_merges = metadata.find_bool(keys::kIgnoreMerges).value_or(row->ignore_merges);
  if (const auto patterns = metadata.find_strings(keys::kPrePatterns))
    rules.patterns = *patterns;
  else
    for (const char* pattern : patterns_of(*row)) rules.patterns.emplace_back(pattern);
  return rules;
}

class BpeTokenizer : public TokenizerBase {
 public:
  BpeTokenizer(const Metadata& metadata, const BpeRules& rules);

 protected:
  void encode_text(std::string_view text, WordCache& cache,
                   std::vector<TokenId>& out) const override;
  std::string ordinary_piece(TokenId id) const override {
    return std::string(piece_of(static_cast<std::uint32_t>(id)));
  }

 private:
  void spell_tokens();
  void read_merges(const Metadata& metadata);
  void find_bytes();
  Symbol symbol_of(std::string_view text);
  std::string_view symbol_text(Symbol symbol) const;
  std::string_view piece_of(std::uint32_t id) const {
    return std::string_view(pieces_).substr(piece_at_[id], piece_at_[id + 1] - piece_at_[id]);
  }
  void encode_word(std::string_view word, std::vector<TokenId>& out) const;
  void append_symbols(std::string_view word, std::vector<Symbol>& out) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;
  void append_tokens(Symbol symbol, std::vector<TokenId>& out) const;
  Symbol first_byte_symbol() const { return static_cast<Symbol>(size()); }
  Symbol first_text_symbol() const { return static_cast<Symbol>(size()) + 256; }

  Spelling spelling_;
  bool ignore_merges_;
  PreTokenizer splitter_;
  std::string pieces_;                 ///< bytes of all tokens, one after the other
  std::vector<std::size_t> piece_at_;  ///< [size() + 1] where each begins in pieces_
  StringTable by_piece_;               ///< normal tokens by their bytes
  std::vector<std::string> texts_;     ///< of symbols that are no tokens
  StringTable by_text_;                ///< indices into texts_
  std::vector<Merge> merges_;          ///< [rank]
  PairTable ranks_{0};
  std::array<Symbol, 256> byte_symbols_{};  ///< of a byte in a word, spelling bytes
  std::array<TokenId, 256> byte_tokens_{};  ///< of a byte that nothing else spells; -1: none
};

BpeTokenizer::BpeTokenizer(const Metadata& metadata, const BpeRules& rules)
    : TokenizerBase(metadata, rules.defaults, rules.text),
      spelling_(rules.spelling),
      ignore_merges_(rules.ignore_merges),
      splitter_(rules.patterns, metadata.file_name() + (metadata.has(keys::kPrePatterns)
                                                            ? ": " + std::string(keys::kPrePatterns)
                                                            : "")) {
  spell_tokens();
  read_merges(metadata);
  find_bytes();
}

/// Bytes that each token stands for. A token with a character outside of the alphabet stands for
/// its own text, as in Hugging Face's decoder.
void BpeTokenizer::spell_tokens() {
  std::array<int, 512> byte_of{};
  byte_of.fill(-1);
  const auto alphabet = byte_alphabet();
  for (std::size_t b = 0; b < 256; ++b) byte_of[alphabet[b]] = static_cast<int>(b);
  piece_at_.reserve(static_cast<std::size_t>(size()) + 1);
  for (TokenId id = 0; id < size(); ++id) {
    const std::string_view text = token_text(id);
    piece_at_.push_back(pieces_.size());
    if (spelling_ == Spelling::metaspace) pieces_ += replace_all(text, kMetaspace, " ");
    if (spelling_ == Spelling::raw) pieces_ += text;
    if (spelling_ != Spelling::bytes) continue;
    const std::size_t begin = pieces_.size();
    for (std::size_t at = 0; at < text.size();) {
      const Utf8Char c = utf8_at(text, at);
      if (c.bytes == 0 || c.code_point >= byte_of.size() || byte_of[c.code_point] < 0) {
        pieces_.resize(begin);
        pieces_ += text;
        break;
      }
      pieces_ += static_cast<char>(byte_of[c.code_point]);
      at += static_cast<std::size_t>(c.bytes);
    }
  }
  piece_at_.push_back(pieces_.size());
  if (!ignore_merges_) return;
  by_piece_.reset(static_cast<std::size_t>(size()));
  for (TokenId id = 0; id < size(); ++id)
    if (const auto i = static_cast<std::uint32_t>(id); token_type(id) == TokenType::normal)
      by_piece_.insert(piece_of(i), i, [this](std::uint32_t j) { return piece_of(j); });
}

std::string_view BpeTokenizer::symbol_text(Symbol symbol) const {
  if (symbol < first_byte_symbol()) return token_text(static_cast<TokenId>(symbol));
  return texts_[symbol - first_text_symbol()];
}

/// The symbol of a text, a new one if it is neither a token nor known from another merge.
Symbol BpeTokenizer::symbol_of(std::string_view text) {
  if (const auto id = find(text)) return static_cast<Symbol>(*id);
  const auto text_of = [this](std::uint32_t i) -> std::string_view { return texts_[i]; };
  const auto next = static_cast<std::uint32_t>(texts_.size());
  const std::uint32_t index = by_text_.insert(text, next, text_of);
  if (index == next) texts_.emplace_back(text);
  return first_text_symbol() + index;
}

void BpeTokenizer::read_merges(const Metadata& metadata) {
  const std::vector<std::string>& lines = metadata.strings(keys::kMerges);
  if (lines.size() >= kNoRank)
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kMerges, " has ", lines.size(),
         " elements; expected fewer");
  ranks_ = PairTable(lines.size());
  merges_.reserve(lines.size());
  std::string joined;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::string_view line = lines[i];
    const std::size_t space = line.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == line.size())
      fail(ErrorKind::input, metadata.file_name(), ": ", keys::kMerges, "[", i, "] is \"", line,
           "\"; expected two parts with a space between");
    const std::string_view left = line.substr(0, space);
    const std::string_view right = line.substr(space + 1);
    joined.assign(left).append(right);
    merges_.push_back({symbol_of(left), symbol_of(right), symbol_of(joined)});
    ranks_.insert(merges_.back().left, merges_.back().right, static_cast<Rank>(i));
  }
}

void BpeTokenizer::find_bytes() {
  const auto alphabet = byte_alphabet();
  for (std::size_t b = 0; b < 256; ++b) {
    const auto byte = static_cast<unsigned char>(b);
    std::string character;
    append_utf8(alphabet[b], character);
    byte_symbols_[b] = symbol_of(character);
    const std::string alone(1, static_cast<char>(byte));
    const auto id = find(alone);
    const auto fallback = find(byte_token_text(byte));
    byte_tokens_[b] = id ? *id : fallback ? *fallback : -1;
  }
}

void BpeTokenizer::append_symbols(std::string_view word, std::vector<Symbol>& out) const {
  if (spelling_ == Spelling::bytes) {
    for (const char c : word) out.push_back(byte_symbols_[static_cast<unsigned char>(c)]);
    return;
  }
  const auto text_of = [this](std::uint32_t i) -> std::string_view { return texts_[i]; };
  for (const std::string_view character : characters(word)) {
    if (const auto id = find(character)) {
      out.push_back(static_cast<Symbol>(*id));
    } else if (const auto index = by_text_.find(character, text_of)) {
      out.push_back(first_text_symbol() + *index);
    } else {
      for (const char c : character)
        out.push_back(first_byte_symbol() + static_cast<unsigned char>(c));
    }
  }
}

/// Merges by scanning for the lowest rank: quickest for words of everyday length.
void BpeTokenizer::merge_short(std::vector<Symbol>& symbols) const {
  std::vector<Rank> ranks(symbols.size(), kNoRank);  // of the pair (i, i + 1)
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
    ranks[i] = ranks_.find(symbols[i], symbols[i + 1]);
  for (;;) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (best == ranks.end() || *best == kNoRank) return;
    const auto i = best - ranks.begin();
    const auto at = static_cast<std::size_t>(i);
    symbols[at] = merges_[*best].result;
    symbols.erase(symbols.begin() + i + 1);
    ranks.erase(ranks.begin() + i + 1);
    ranks[at] = at + 1 < symbols.size() ? ranks_.find(symbols[at], symbols[at + 1]) : kNoRank;
    if (at > 0) ranks[at - 1] = ranks_.find(symbols[at - 1], symbols[at]);
  }
}

/// The same with a heap and a linked list: n log n, for words of any length.
void BpeTokenizer::merge_long(std::vector<Symbol>& symbols) const {
  constexpr std::uint32_t kEnd = ~std::uint32_t{0};
  const auto n = static_cast<std::uint32_t>(symbols.size());
  std::vector<std::uint32_t> previous(n), next(n);
  std::vector<bool> merged_away(n, false);
  using Candidate = std::pair<Rank, std::uint32_t>;  // rank, left symbol
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](std::uint32_t left) {
    if (left == kEnd || next[left] == kEnd) return;
    const Rank rank = ranks_.find(symbols[left], symbols[next[left]]);
    if (rank != kNoRank) queue.emplace(rank, left);
  };
  for (std::uint32_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? kEnd : i - 1;
    next[i] = i + 1 == n ? kEnd : i + 1;
  }
  for (std::uint32_t i = 0; i + 1 < n; ++i) consider(i);
  while (!queue.empty()) {
    const auto [rank, left] = queue.top();
    queue.pop();
    const std::uint32_t right = next[left];
    const Merge& merge = merges_[rank];
    if (merged_away[left] || right == kEnd || symbols[left] != merge.left ||
        symbols[right] != merge.right)
      continue;  // one of the two has changed since
    symbols[left] = merge.result;
    merged_away[right] = true;
    next[left] = next[right];
    if (next[left] != kEnd) previous[next[left]] = left;
    consider(previous[left]);
    consider(left);
  }
  std::size_t kept = 0;
  for (std::uint32_t i = 0; i < n; ++i)
    if (!merged_away[i]) symbols[kept++] = symbols[i];
  symbols.resize(kept);
}

/// A text that is no token falls apart into its characters, these into bytes; what is still unknown
/// is dropped.
void BpeTokenizer::append_tokens(Symbol symbol, std::vector<TokenId>& out) const {
  if (symbol < first_byte_symbol()) {
    out.push_back(static_cast<TokenId>(symbol));
    return;
  }
  const auto append_byte = [&](std::size_t byte) {
    if (byte_tokens_[byte] >= 0) out.push_back(byte_tokens_[byte]);
  };
  if (symbol < first_text_symbol()) return append_byte(symbol - first_byte_symbol());
  for (const std::string_view character : characters(symbol_text(symbol))) {
    if (const auto id = find(character))
      out.push_back(*id);
    else
      for (const char c : character) append_byte(static_cast<unsigned char>(c));
  }
}

void BpeTokenizer::encode_word(std::string_view word, std::vector<TokenId>& out) const {
  constexpr std::size_t kShort = 48;
  if (ignore_merges_) {
    const auto whole = by_piece_.find(word, [this](std::uint32_t i) { return piece_of(i); });
    if (whole) return out.push_back(static_cast<TokenId>(*whole));
  }
  std::vector<Symbol> symbols;
  append_symbols(word, symbols);
  if (symbols.size() <= kShort)
    merge_short(symbols);
  else
    merge_long(symbols);
  for (const Symbol symbol : symbols) append_tokens(symbol, out);
}

void BpeTokenizer::encode_text(std::string_view text, WordCache& cache,
                               std::vector<TokenId>& out) const {
  std::vector<std::string_view> words;
  splitter_.split(text, words);
  for (const std::string_view word : words) {
    if (cache.append(word, out)) continue;
    const std::size_t before = out.size();
    encode_word(word, out);
    cache.remember(word, std::span(out).subspan(before));
  }
}

}  // namespace

std::unique_ptr<Tokenizer> make_bpe_tokenizer(const Metadata& metadata, std::string_view model) {
  return std::make_unique<BpeTokenizer>(metadata, read_rules(metadata, model));
}

}  // namespace lq
