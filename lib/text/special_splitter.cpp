#include "lib/text/special_splitter.h"

#include <algorithm>

#include "lib/text/tokenizer_keys.h"
#include "lib/text/unicode.h"

namespace lq {
namespace {

bool word_before(std::string_view text, std::size_t at) {
  if (at == 0) return false;
  const Utf8Char c = utf8_before(text, at);
  return c.bytes > 0 && is_word_character(c.code_point);
}

bool word_at(std::string_view text, std::size_t at) {
  if (at == text.size()) return false;
  const Utf8Char c = utf8_at(text, at);
  return c.bytes > 0 && is_word_character(c.code_point);
}

/// Where the white space that ends before `at` begins, not before `least`.
std::size_t skip_back(std::string_view text, std::size_t at, std::size_t least) {
  while (at > least) {
    const Utf8Char c = utf8_before(text, at);
    if (c.bytes == 0 || !is_white_space(c.code_point)) break;
    at -= static_cast<std::size_t>(c.bytes);
  }
  return std::max(at, least);
}

std::size_t skip_forward(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Char c = utf8_at(text, at);
    if (c.bytes == 0 || !is_white_space(c.code_point)) break;
    at += static_cast<std::size_t>(c.bytes);
  }
  return at;
}

}  // namespace

SpecialSplitter::SpecialSplitter() : nodes_(1) {}

std::uint32_t SpecialSplitter::child_of(std::uint32_t node, unsigned char byte) const {
  for (std::uint32_t child = nodes_[node].child; child != 0; child = nodes_[child].sibling)
    if (nodes_[child].byte == byte) return child;
  return 0;
}

void SpecialSplitter::add(std::string_view text, TokenId id, std::int32_t flags, bool always) {
  const auto new_node = [this](unsigned char byte) {
    nodes_.push_back({.byte = byte});
    return static_cast<std::uint32_t>(nodes_.size() - 1);
  };
  const auto first = static_cast<unsigned char>(text.front());
  if (roots_[first] == 0) roots_[first] = new_node(first);
  std::uint32_t node = roots_[first];
  for (const char c : text.substr(1)) {
    const auto byte = static_cast<unsigned char>(c);
    std::uint32_t child = child_of(node, byte);
    if (child == 0) {
      child = new_node(byte);
      nodes_[child].sibling = nodes_[node].child;
      nodes_[node].child = child;
    }
    node = child;
  }
  if (nodes_[node].entry >= 0) return;  // two texts became one by normalisation: the first counts
  nodes_[node].entry = static_cast<std::int32_t>(entries_.size());
  entries_.push_back({id, flags, always});
}

SpecialSplitter::Match SpecialSplitter::longest_at(std::string_view text, std::size_t at,
                                                   bool parse_special) const {
  Match best;
  std::uint32_t node = roots_[static_cast<unsigned char>(text[at])];
  for (std::size_t n = 1; node != 0; ++n) {
    if (const std::int32_t entry = nodes_[node].entry; entry >= 0) {
      const Entry& found = entries_[static_cast<std::size_t>(entry)];
      if (parse_special || found.always) best = {&found, n};
    }
    if (at + n == text.size()) break;
    node = child_of(node, static_cast<unsigned char>(text[at + n]));
  }
  return best;
}

void SpecialSplitter::split(std::string_view text, bool parse_special,
                            std::vector<Fragment>& out) const {
  using namespace tokenizer_keys;
  std::size_t done = 0;
  const auto raw_until = [&](std::size_t end) {
    if (end > done) out.push_back({-1, text.substr(done, end - done)});
  };
  for (std::size_t at = 0; at < text.size();) {
    if (roots_[static_cast<unsigned char>(text[at])] == 0) {
      ++at;
      continue;
    }
    const Match match = longest_at(text, at, parse_special);
    if (match.entry == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + match.bytes;
    at = end;
    const std::int32_t flags = match.entry->flags;
    if ((flags & kSingleWord) != 0 && (word_before(text, begin) || word_at(text, end))) continue;
    if ((flags & kLstrip) != 0) begin = skip_back(text, begin, done);
    if ((flags & kRstrip) != 0) end = skip_forward(text, end);
    raw_until(begin);
    out.push_back({match.entry->id, text.substr(begin, end - begin)});
    done = end;
    at = std::max(at, end);
  }
  raw_until(text.size());
}

}  // namespace lq
