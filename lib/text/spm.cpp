// SentencePiece's byte-pair encoding: pieces are merged into the token with the best score first.
#include <algorithm>
#include <array>
#include <cmath>
#include <queue>
#include <unordered_map>

#include "lib/base/error.h"
#include "lib/text/tokenizer_base.h"
#include "lib/text/tokenizer_keys.h"

namespace lq {
namespace {

namespace keys = tokenizer_keys;

constexpr std::uint32_t kEnd = ~std::uint32_t{0};

/// A stretch of the word that is being merged.
struct Piece {
  std::uint32_t begin, bytes;  ///< bytes is 0 for a piece that was merged into its left neighbour
  std::uint32_t previous, next;
};

struct Candidate {
  float score;
  std::uint32_t left, right, bytes;  ///< bytes of both together: they change when one is merged
  bool operator<(const Candidate& other) const {
    return score < other.score || (score == other.score && left > other.left);
  }
};

class SpmTokenizer : public TokenizerBase {
 public:
  SpmTokenizer(const Metadata& metadata, const VocabularyDefaults& defaults,
               const TextRules& text_rules);

 protected:
  void encode_text(std::string_view text, WordCache& cache,
                   std::vector<TokenId>& out) const override;
  std::string ordinary_piece(TokenId id) const override {
    return replace_all(token_text(id), kMetaspace, " ");
  }

 private:
  /// Where tokens that are not used were put together: text -> bytes of the left part.
  using Splits = std::unordered_map<std::string_view, std::size_t>;

  std::string_view text_of(std::uint32_t id) const { return token_text(static_cast<TokenId>(id)); }
  std::optional<TokenId> find_piece(std::string_view text) const;
  void encode_word(std::string_view word, std::vector<TokenId>& out) const;
  void append_piece(std::string_view text, const Splits& splits, std::vector<TokenId>& out) const;

  std::vector<float> scores_;             ///< [size()]
  StringTable pieces_;                    ///< tokens that merging may make
  std::size_t longest_ = 0;               ///< bytes of the longest of them
  bool words_are_apart_ = true;           ///< none of them reaches from one word into the next
  std::array<TokenId, 256> byte_tokens_;  ///< -1: none
};

/// True if U+2581 follows another character somewhere in `text`.
bool spans_words(std::string_view text) {
  for (std::size_t at = text.find(kMetaspace, 1); at != std::string_view::npos;
       at = text.find(kMetaspace, at + 1))
    if (!text.substr(0, at).ends_with(kMetaspace)) return true;
  return false;
}

SpmTokenizer::SpmTokenizer(const Metadata& metadata, const VocabularyDefaults& defaults,
                           const TextRules& text_rules)
    : TokenizerBase(metadata, defaults, text_rules) {
  auto scores = metadata.find_floats(keys::kScores);
  if (!scores)
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kScores,
         " is missing; a SentencePiece vocabulary needs the scores of its tokens");
  scores_ = std::move(*scores);
  if (scores_.size() != static_cast<std::size_t>(size()))
    fail(ErrorKind::input, metadata.file_name(), ": ", keys::kScores, " has ", scores_.size(),
         " elements; expected one for each of the ", size(), " tokens");
  pieces_.reset(scores_.size());
  for (TokenId id = 0; id < size(); ++id) {
    if (std::isnan(scores_[static_cast<std::size_t>(id)]))
      fail(ErrorKind::input, metadata.file_name(), ": ", keys::kScores, "[", id,
           "] is not a number");
    const TokenType type = token_type(id);
    if (type == TokenType::control || type == TokenType::unknown || type == TokenType::byte)
      continue;
    const std::string_view text = token_text(id);
    pieces_.insert(text, static_cast<std::uint32_t>(id),
                   [this](std::uint32_t i) { return text_of(i); });
    longest_ = std::max(longest_, text.size());
    words_are_apart_ = words_are_apart_ && !spans_words(text);
  }
  for (std::size_t b = 0; b < 256; ++b) {
    const auto byte = static_cast<unsigned char>(b);
    const auto id = find(byte_token_text(byte));
    const auto alone = find(std::string(1, static_cast<char>(byte)));
    byte_tokens_[b] = id ? *id : alone ? *alone : -1;
  }
}

std::optional<TokenId> SpmTokenizer::find_piece(std::string_view text) const {
  if (text.size() > longest_) return std::nullopt;
  const auto id = pieces_.find(text, [this](std::uint32_t i) { return text_of(i); });
  if (!id) return std::nullopt;
  return static_cast<TokenId>(*id);
}

/// Appends the token of `text`; without one the tokens of its bytes, without these the unknown
/// token, one for neighbouring bytes. A token that is marked as not used falls apart into what it
/// was merged from.
void SpmTokenizer::append_piece(std::string_view text, const Splits& splits,
                                std::vector<TokenId>& out) const {
  std::vector<std::string_view> rest{text};
  while (!rest.empty()) {
    const std::string_view part = rest.back();
    rest.pop_back();
    if (const auto id = find_piece(part)) {
      const auto split = splits.find(part);
      if (split == splits.end()) {
        out.push_back(*id);
      } else {
        rest.push_back(part.substr(split->second));
        rest.push_back(part.substr(0, split->second));
      }
      continue;
    }
    for (const char c : part) {
      const TokenId byte = byte_tokens_[static_cast<unsigned char>(c)];
      if (byte >= 0)
        out.push_back(byte);
      else if (const auto unknown = vocabulary().unknown;
               unknown && (out.empty() || out.back() != *unknown))
        out.push_back(*unknown);
    }
  }
}

void SpmTokenizer::encode_word(std::string_view word, std::vector<TokenId>& out) const {
  std::vector<Piece> pieces;
  for (std::size_t at = 0; at < word.size();) {
    const int bytes = std::max(utf8_at(word, at).bytes, 1);
    const auto i = static_cast<std::uint32_t>(pieces.size());
    pieces.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(bytes),
                      i == 0 ? kEnd : i - 1, i + 1});
    at += static_cast<std::size_t>(bytes);
  }
  pieces.back().next = kEnd;

  std::priority_queue<Candidate> queue;
  Splits splits;
  const auto consider = [&](std::uint32_t left, std::uint32_t right) {
    if (left == kEnd || right == kEnd) return;
    const std::uint32_t bytes = pieces[left].bytes + pieces[right].bytes;
    const std::string_view text = word.substr(pieces[left].begin, bytes);
    const auto id = find_piece(text);
    if (!id) return;
    queue.push({scores_[static_cast<std::size_t>(*id)], left, right, bytes});
    if (token_type(*id) == TokenType::unused) splits.emplace(text, pieces[left].bytes);
  };
  for (std::uint32_t i = 0; i + 1 < pieces.size(); ++i) consider(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Piece& left = pieces[best.left];
    Piece& right = pieces[best.right];
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != best.bytes) continue;
    left.bytes = best.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (left.next != kEnd) pieces[left.next].previous = best.left;
    consider(left.previous, best.left);
    consider(best.left, left.next);
  }
  for (const Piece& piece : pieces)
    if (piece.bytes > 0) append_piece(word.substr(piece.begin, piece.bytes), splits, out);
}

void SpmTokenizer::encode_text(std::string_view text, WordCache& cache,
                               std::vector<TokenId>& out) const {
  while (!text.empty()) {
    // A word ends where U+2581 follows another character; all of the text is one word when tokens
    // reach across.
    std::size_t end = 0;
    while (text.substr(end).starts_with(kMetaspace)) end += kMetaspace.size();
    end = words_are_apart_ ? text.find(kMetaspace, end) : text.size();
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(word.size());
    if (cache.append(word, out)) continue;
    const std::size_t before = out.size();
    encode_word(word, out);
    cache.remember(word, std::span(out).subspan(before));
  }
}

}  // namespace

std::unique_ptr<Tokenizer> make_spm_tokenizer(const Metadata& metadata) {
  const VocabularyDefaults defaults{.add_bos = true, .bos = 1, .eos = 2, .unknown = 0};
  const TextRules rules{.space_prefix = SpacePrefix::every, .metaspace = true};
  return std::make_unique<SpmTokenizer>(metadata, defaults, read_text_rules(metadata, rules));
}

}  // namespace lq
