#pragma once
// Special tokens, the flags that add them, merges and the chat template of a Hugging Face folder,
// by the reference converter's rules.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/monitor.h"
#include "lib/format/metadata.h"
#include "lib/jobs/convert_folder.h"

namespace lq {

struct SpecialOptions {
  bool merges = false;                   ///< look for merges, too
  std::optional<std::uint64_t> n_vocab;  ///< ids from there on are left out
  /// Types of tokens to look for, e.g. "bos".
  std::vector<std::string> types = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"};
  /// Ids known beforehand: set after those that the files give, unless they give them.
  std::vector<std::pair<std::string, std::uint32_t>> known;
};

/// What the keys call a type of token: tokenizer.ggml.<key>_token_id.
struct SpecialTokenKey {
  std::string_view type, key;
};
std::span<const SpecialTokenKey> special_token_keys();

/// Appends (or replaces in place) the keys.
void add_special_tokens(const HfFolder& folder, const SpecialOptions& options, Metadata& metadata,
                        Monitor& monitor);

/// The merges of tokenizer.json ("left right"), or of merges.txt, or of vocab.bpe. Throws
/// Error(input) that names the entry when one does not have two parts.
std::vector<std::string> read_merges(const HfFolder& folder, Monitor& monitor);

}  // namespace lq
