#pragma once
// The tokenizer keys: from tokenizer.model, tokenizer.json, or vocab.json with merges.txt.
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/monitor.h"
#include "lib/format/metadata.h"
#include "lib/jobs/convert_folder.h"
#include "lib/jobs/sentencepiece_model.h"
#include "lib/model/arch_spec.h"

namespace lq {

struct VocabularyOptions {
  const ArchSpec* arch = nullptr;            ///< null: not known, then the Llama rules
  std::optional<int> n_vocab;                ///< of config.json; rows of the embedding
  std::string pre;                           ///< name of the pre-tokenizer; empty: find out
  bool compat = false;                       ///< the reference's keys and values, nothing more
  std::filesystem::path sentencepiece_file;  ///< instead of the folder's; empty: tokenizer.model
};

/// Appends the tokenizer keys. Throws Error(input | unsupported) that names the file.
void add_vocabulary(const HfFolder& folder, const VocabularyOptions& options, Metadata& metadata,
                    Monitor& monitor);

/// Name for tokenizer.ggml.pre from the definition in tokenizer.json; nothing when the definition
/// is not one that is known, or there is none.
std::optional<std::string> pre_of_definition(const JsonObject& tokenizer,
                                             const std::string& model_type, bool adds_bos);
/// The same by tokenizing a fixed text with each pre-tokenizer and looking the result up in the
/// table of known vocabularies. `metadata` has tokens, types and merges already.
std::optional<std::string> pre_of_probe(const Metadata& metadata);
/// Regular expressions that do what the pre_tokenizer of tokenizer.json does. Throws
/// Error(unsupported) that names the part that has none.
std::vector<std::string> patterns_of_definition(const JsonObject& tokenizer);

/// Its inverse: a pre_tokenizer that splits by these patterns (of a row of pretokenizers.def, or
/// what patterns_of_definition() gave), for byte-level vocabularies. `pre` is the name in
/// tokenizer.ggml.pre. Null when it cannot be said.
OrderedJson definition_of_patterns(std::span<const std::string> patterns, std::string_view pre,
                                   bool add_prefix_space);

/// Appends our own keys (lib/text/tokenizer_keys.h) where the standard ones do not suffice.
/// `sentencepiece` may be null. `own_patterns`: no known pre-tokenizer fits.
void add_own_tokenizer_keys(const JsonObject& tokenizer, const SentencePieceModel* sentencepiece,
                            bool own_patterns, Metadata& metadata, Monitor& monitor);

}  // namespace lq
