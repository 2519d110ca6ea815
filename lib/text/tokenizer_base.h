#pragma once
// What all kinds of tokenizers share. Internal to lib/text.
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/text/special_splitter.h"
#include "lib/text/string_table.h"
#include "lib/text/tokenizer.h"
#include "lib/text/unicode.h"
#include "lib/text/vocabulary.h"

namespace lq {

/// Ids of the words met so far in one call of encode(): most words of a text come again.
class WordCache {
 public:
  /// Appends the ids of `word` to `out` and returns true if the word is known.
  bool append(std::string_view word, std::vector<TokenId>& out) const;
  /// Remembers that `word` is encoded as `ids`. Long words and, after some, all are not kept.
  void remember(std::string_view word, std::span<const TokenId> ids);

 private:
  struct Entry {
    std::size_t word, word_bytes, ids, n_ids;
  };
  std::string_view word_of(std::uint32_t i) const {
    return std::string_view(words_).substr(entries_[i].word, entries_[i].word_bytes);
  }
  StringTable table_;
  std::vector<Entry> entries_;
  std::string words_;
  std::vector<TokenId> ids_;
};

/// Where a space is put before the text (tokenizer.lq.space_prefix).
enum class SpacePrefix { never, every, every_unless, first, first_unless };

/// How a kind of tokenizer treats text before it encodes it.
struct TextRules {
  NormalForm normal_form = NormalForm::none;
  SpacePrefix space_prefix = SpacePrefix::never;
  bool metaspace = false;        ///< spaces become U+2581
  bool collapse_spaces = false;  ///< runs of spaces become one; none at the ends
};
/// The rules that `metadata` states, `defaults` for what it does not.
TextRules read_text_rules(const Metadata& metadata, const TextRules& defaults);

/// Splits special tokens out, normalises, adds begin and end; a derived class encodes the rest.
class TokenizerBase : public Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const override;
  std::string piece(TokenId id, bool special) const override;
  std::string decode(std::span<const TokenId> ids, bool special) const override;

  std::string_view token_text(TokenId id) const override { return vocabulary_.text(id); }
  TokenType token_type(TokenId id) const override { return vocabulary_.type(id); }
  std::optional<TokenId> find(std::string_view text) const override {
    return vocabulary_.find(text);
  }
  int size() const override { return vocabulary_.size(); }
  std::optional<TokenId> bos() const override { return vocabulary_.bos; }
  std::optional<TokenId> eos() const override { return vocabulary_.eos; }
  bool adds_bos() const override { return vocabulary_.add_bos; }
  bool adds_eos() const override { return vocabulary_.add_eos; }
  bool ends_generation(TokenId id) const override { return vocabulary_.ends_generation(id); }

 protected:
  TokenizerBase(const Metadata& metadata, const VocabularyDefaults& defaults,
                const TextRules& rules);
  /// Appends the ids of `text` (not empty), in which no token stands by its own text.
  virtual void encode_text(std::string_view text, WordCache& cache,
                           std::vector<TokenId>& out) const = 0;
  /// The bytes of an ordinary token.
  virtual std::string ordinary_piece(TokenId id) const = 0;
  const Vocabulary& vocabulary() const { return vocabulary_; }
  const TextRules& rules() const { return rules_; }

 private:
  void find_specials(const Metadata& metadata);
  std::string prepare(std::string_view text, bool at_start) const;
  void encode_raw(std::string_view text, bool at_start, bool parse_special, WordCache& cache,
                  std::vector<TokenId>& out) const;
  void encode_piece(std::string_view text, bool at_start, WordCache& cache,
                    std::vector<TokenId>& out) const;

  Vocabulary vocabulary_;
  TextRules rules_;
  SpecialSplitter in_text_;                            ///< tokens found in the text as it is given
  SpecialSplitter in_prepared_;                        ///< tokens found after prepare()
  std::unordered_map<TokenId, std::string> prepared_;  ///< what those look like in a decoded text
};

std::unique_ptr<Tokenizer> make_bpe_tokenizer(const Metadata& metadata, std::string_view model);
std::unique_ptr<Tokenizer> make_spm_tokenizer(const Metadata& metadata);

}  // namespace lq
