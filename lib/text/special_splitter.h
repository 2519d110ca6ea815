#pragma once
// Cutting the tokens that stand in text by their own text ("<|im_end|>") out of it. Internal to
// lib/text.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/tokenizer.h"

namespace lq {

/// A piece of text: a token, or (id < 0) text still to be encoded.
struct Fragment {
  TokenId id = -1;
  std::string_view text;  ///< what it covers, with the white space that the token takes along
};

/// Finds tokens leftmost-longest, all at once. Thread-safe after construction.
class SpecialSplitter {
 public:
  SpecialSplitter();
  /// Adds a token. `flags`: AddedTokenFlag (tokenizer_keys.h). `always`: also without
  /// parse_special. The text must not be empty.
  void add(std::string_view text, TokenId id, std::int32_t flags, bool always);
  bool empty() const { return entries_.empty(); }
  /// Appends the fragments of `text`, in order; none of the raw ones is empty.
  void split(std::string_view text, bool parse_special, std::vector<Fragment>& out) const;

 private:
  struct Entry {
    TokenId id;
    std::int32_t flags;
    bool always;
  };
  struct Node {  ///< of a trie over bytes; children are a linked list, 0 ends it
    std::uint32_t child = 0, sibling = 0;
    std::int32_t entry = -1;
    unsigned char byte = 0;
  };
  struct Match {
    const Entry* entry = nullptr;
    std::size_t bytes = 0;
  };

  std::uint32_t child_of(std::uint32_t node, unsigned char byte) const;
  Match longest_at(std::string_view text, std::size_t at, bool parse_special) const;

  std::vector<Entry> entries_;
  std::vector<Node> nodes_;
  std::uint32_t roots_[256] = {};
};

}  // namespace lq
