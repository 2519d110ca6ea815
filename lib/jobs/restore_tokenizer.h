#pragma once
// The tokenizer's files from a GGUF file's metadata: tokenizer.json, tokenizer.model,
// tokenizer_config.json.
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/monitor.h"
#include "lib/format/metadata.h"
#include "lib/jobs/quantization_config.h"
#include "lib/model/arch_spec.h"
#include "lib/text/tokenizer.h"

namespace lq {

/// What of a vocabulary is known; ids are places in the lists.
struct RestoredTokens {
  std::string file;  ///< for messages
  bool is_spm = false;
  std::vector<std::string> texts;  ///< valid UTF-8
  std::vector<TokenType> types;
  std::vector<float> scores;        ///< with is_spm
  std::vector<std::int64_t> flags;  ///< of added tokens: tokenizer_keys::AddedTokenFlag
  std::vector<std::string> merges;  ///< "left right" of parts and results that are tokens
  std::optional<TokenId> bos, eos, unknown;
  bool adds_bos = false, adds_eos = false;
  std::string space_prefix, normal_form;  ///< values of tokenizer_keys::kSpacePrefix, kNormalizer
  bool removes_extra_whitespaces = false;
  /// Scores are numbers of merges, as conversion makes them of a tokenizer.json without a
  /// tokenizer.model: bytes, which no merge yields, have the lowest.
  bool scores_count_merges = false;

  std::size_t size() const { return texts.size(); }
  /// A place that conversion filled because the embedding has a row for it.
  bool is_filler(std::size_t id) const;
  /// Cut out of the text before anything else happens to it.
  bool is_added(std::size_t id) const;
  bool is_special(std::size_t id) const { return types[id] != TokenType::user_defined; }
  /// Whether tokenizer_config.json declares it over its piece, as conversion found it.
  bool is_declared(std::size_t id) const;
};

/// The files; none, and a warning, when the file has no tokenizer of a kind that can be written.
/// `n_vocab` is the number of rows of the embedding. Throws Error(input) for a broken vocabulary.
std::vector<ConfigFile> restored_tokenizer(const Metadata& metadata, const ArchSpec& arch,
                                           int n_vocab, Monitor& monitor);

/// An entry of added_tokens; without its id for added_tokens_decoder.
OrderedJson added_token_json(const RestoredTokens& tokens, std::size_t id, bool with_id);

/// Text of tokenizer.json. `pre_tokenizer` is used for byte-level vocabularies only,
/// `ignore_merges` likewise. `separates`: whether a second text begins as the first does.
struct TokenizerJsonParts {
  const OrderedJson* pre_tokenizer = nullptr;
  bool ignore_merges = false;
  bool separates = false;
};
std::string tokenizer_json_text(const RestoredTokens& tokens, const TokenizerJsonParts& parts);

/// {"text": id, ...} of the tokens that a model's vocabulary has, a line each.
std::string vocabulary_text(const RestoredTokens& tokens, const std::string& indent);

/// Merges that join pieces in the order of their scores, as the transformers package derives them.
std::vector<std::string> merges_of_scores(const RestoredTokens& tokens);

/// tokenizer.model; nothing without an unknown token, which the format wants.
std::optional<ConfigFile> restored_sentencepiece(const RestoredTokens& tokens);

}  // namespace lq
