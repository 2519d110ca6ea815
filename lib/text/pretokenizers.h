#pragma once
// Splitting text into the words inside which byte-pair merges happen.
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lq {

/// How the words of a byte-pair vocabulary are spelled in it.
enum class Spelling {
  bytes,      ///< one character of the byte alphabet for each byte
  metaspace,  ///< as they are, but U+2581 for a space
  raw,        ///< as they are
};

/// What a value of tokenizer.ggml.pre stands for. One row of pretokenizers.def.
struct PreTokenizerInfo {
  std::string_view name;    ///< the value, e.g. "llama-bpe"
  std::string_view family;  ///< whose patterns it uses
  bool ignore_merges;       ///< a word that is a token as a whole stays whole
  bool add_bos;             ///< default when the metadata does not say
  bool nfc;                 ///< text is brought to NFC first
  Spelling spelling;
};

/// The row for a name, or null when the name is not known.
const PreTokenizerInfo* find_pretokenizer(std::string_view name) noexcept;
/// Every row, for messages and lists.
std::span<const PreTokenizerInfo> all_pretokenizers() noexcept;
/// The patterns of a row, applied one after another; each splits the pieces that the ones before
/// left. A pattern that begins with '@' is followed by a real one whose matches are cut into groups
/// of three characters from the right.
std::span<const char* const> patterns_of(const PreTokenizerInfo& row) noexcept;

/// Compiled patterns. Thread-safe after construction.
class PreTokenizer {
 public:
  /// Throws Error(input) that names `where` and the pattern when one is not a valid regular
  /// expression.
  PreTokenizer(std::span<const std::string> patterns, std::string_view where);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;

  /// Appends the pieces of `text`, in order and without a gap; none is empty. Invalid UTF-8 is
  /// allowed. Throws Error(input) when a pattern runs into the limit of steps.
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct Compiled;
  std::vector<Compiled> compiled_;
  std::string where_;
};

}  // namespace lq
