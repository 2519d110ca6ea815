#pragma once
// From texts to small numbers: the hash table behind vocabularies.
#include <bit>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace lq {

/// An open-addressing table of indices. It keeps no texts: `text_of(index)`, given to every call,
/// returns the text that an index was inserted with.
class StringTable {
 public:
  explicit StringTable(std::size_t expected = 0) { reset(expected); }

  /// Empties the table and makes room for `expected` entries.
  void reset(std::size_t expected) {
    slots_.assign(std::bit_ceil(expected * 2 + 8), kEmpty);
    used_ = 0;
  }

  template <class TextOf>
  std::optional<std::uint32_t> find(std::string_view text, const TextOf& text_of) const {
    for (std::size_t slot = first_slot(text);; slot = next_slot(slot)) {
      if (slots_[slot] == kEmpty) return std::nullopt;
      if (text_of(slots_[slot]) == text) return slots_[slot];
    }
  }

  /// Inserts `index` under `text`, unless the text is there already: then returns its index.
  template <class TextOf>
  std::uint32_t insert(std::string_view text, std::uint32_t index, const TextOf& text_of) {
    if ((used_ + 1) * 2 > slots_.size()) grow(text_of);
    std::size_t slot = first_slot(text);
    for (; slots_[slot] != kEmpty; slot = next_slot(slot))
      if (text_of(slots_[slot]) == text) return slots_[slot];
    slots_[slot] = index;
    ++used_;
    return index;
  }

 private:
  static constexpr std::uint32_t kEmpty = ~std::uint32_t{0};

  std::size_t first_slot(std::string_view text) const {
    return std::hash<std::string_view>{}(text) & (slots_.size() - 1);
  }
  std::size_t next_slot(std::size_t slot) const { return (slot + 1) & (slots_.size() - 1); }

  template <class TextOf>
  void grow(const TextOf& text_of) {
    std::vector<std::uint32_t> old(slots_.size() * 2, kEmpty);
    old.swap(slots_);
    for (const std::uint32_t index : old) {
      if (index == kEmpty) continue;
      std::size_t slot = first_slot(text_of(index));
      while (slots_[slot] != kEmpty) slot = next_slot(slot);
      slots_[slot] = index;
    }
  }

  std::vector<std::uint32_t> slots_;
  std::size_t used_ = 0;
};

}  // namespace lq
