#pragma once
// The tokens of a Hugging Face folder, from the files that declare them.
#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/jobs/convert_folder.h"
#include "lib/text/tokenizer.h"

namespace lq {

struct AddedToken {
  std::string text;
  bool special = false, normalized = true;
};

/// The token list under construction.
struct TokenTable {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<std::int64_t> types;

  std::size_t size() const { return texts.size(); }
  void set(std::size_t id, std::string text, float score, TokenType type) {
    texts[id] = std::move(text);
    scores[id] = score;
    types[id] = static_cast<std::int64_t>(type);
  }
  void push(std::string text, float score, TokenType type) {
    texts.push_back(std::move(text));
    scores.push_back(score);
    types.push_back(static_cast<std::int64_t>(type));
  }
  /// `n` entries that stand for nothing.
  static TokenTable unused(std::size_t n, float score) {
    TokenTable table;
    for (std::size_t i = 0; i < n; ++i)
      table.push("[PAD" + std::to_string(i) + "]", score, TokenType::unused);
    return table;
  }
};

/// True for texts that make a token special whatever the files say.
bool looks_special(std::string_view text);
/// U+2581 as the space that it stands for.
std::string with_spaces(std::string text);
/// A token id of a JSON file, checked. `where` is for messages.
std::int64_t token_id(const Json& value, const std::string& where);

/// tokenizer_config.json's added_tokens_decoder by id.
std::map<std::int64_t, AddedToken> declared_tokens(const HfFolder& folder);
/// tokenizer.json's added_tokens by id.
std::map<std::int64_t, AddedToken> added_tokens(const JsonObject& tokenizer);
/// Texts of the named special tokens (bos_token, eos_token, unk_token, ...) of
/// tokenizer_config.json; `defaults`, in that order, where it does not name one.
std::set<std::string> named_specials(const HfFolder& folder,
                                     std::initializer_list<const char*> defaults);
/// The vocabulary of a BPE model by id, checked: every id once, no large gaps. `present` tells
/// which ids there are.
std::vector<std::string> base_vocabulary(const Json& vocab, const std::string& where,
                                         std::vector<bool>& present);
/// Text of an added token after the reference's encoding and decoding of it: characters of the byte
/// alphabet are taken for bytes when the whole token consists of them.
std::string through_byte_level(const std::string& text);

}  // namespace lq
