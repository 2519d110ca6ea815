#pragma once
// The tokens of a model and what its metadata says about them. Internal to lib/text.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/format/metadata.h"
#include "lib/text/string_table.h"
#include "lib/text/tokenizer.h"

namespace lq {

/// What differs between kinds of tokenizers when the metadata does not say.
struct VocabularyDefaults {
  bool add_bos = false;
  std::optional<TokenId> bos, eos, unknown;  ///< taken only if the vocabulary is that large
};

/// Checked tokens and ids. Rules for odd vocabularies:
///  - an empty token text becomes [EMPTY_<id>]; two tokens with one text are an error,
///  - type 0 counts as normal, types outside 0..6 are an error,
///  - an id of -1 or 4294967295 means that there is no such token; any other id outside the
///    vocabulary is an error,
///  - scores and types must be as many as tokens; a score must not be NaN.
class Vocabulary {
 public:
  /// Throws Error(input) that names the file and the key.
  Vocabulary(const Metadata& metadata, const VocabularyDefaults& defaults);

  int size() const { return static_cast<int>(texts_.size()); }
  std::string_view text(TokenId id) const { return texts_[static_cast<std::size_t>(id)]; }
  TokenType type(TokenId id) const { return types_[static_cast<std::size_t>(id)]; }
  std::optional<TokenId> find(std::string_view text) const;

  std::optional<TokenId> bos, eos, unknown;
  bool add_bos = false, add_eos = false;
  bool ends_generation(TokenId id) const { return ends_[static_cast<std::size_t>(id)]; }

 private:
  void read_types(const Metadata& metadata);
  void read_ids(const Metadata& metadata, const VocabularyDefaults& defaults);
  void find_ends(const Metadata& metadata);

  std::vector<std::string> texts_;
  std::vector<TokenType> types_;
  StringTable by_text_;
  std::vector<bool> ends_;
};

/// The byte of a token "<0x00>" ... "<0xFF>" (upper-case digits), or nothing.
std::optional<unsigned char> byte_of_token_text(std::string_view text) noexcept;
/// Its inverse.
std::string byte_token_text(unsigned char byte);

/// The space that stands in SentencePiece vocabularies: U+2581.
inline constexpr std::string_view kMetaspace = "\xE2\x96\x81";
/// `text` with every `from` replaced by `to`.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace lq
