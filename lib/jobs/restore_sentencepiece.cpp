// tokenizer.model, and merges from the scores of SentencePiece vocabularies.
#include <algorithm>
#include <unordered_map>

#include "lib/jobs/restore_tokenizer.h"
#include "lib/jobs/sentencepiece_model.h"
#include "lib/text/unicode.h"
#include "lib/text/vocabulary.h"

namespace lq {
namespace {

/// A way to make a piece of two others.
struct DerivedMerge {
  float score;  ///< of the piece
  std::size_t left_length, right_length, left, right;
  std::string_view piece;
};

/// The pieces that merging may make or use.
bool merges_to(TokenType type) {
  return type == TokenType::normal || type == TokenType::user_defined || type == TokenType::unused;
}

std::size_t character_count(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

std::vector<DerivedMerge> all_merges(const RestoredTokens& tokens) {
  constexpr std::size_t kLongest = 1024;  // bytes: trying all cuts is quadratic
  std::unordered_map<std::string_view, std::size_t> ids;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (merges_to(tokens.types[i]) && !tokens.is_filler(i)) ids.emplace(tokens.texts[i], i);
  std::vector<DerivedMerge> merges;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::string_view text = tokens.texts[i];
    // A space would end the left part.
    if (!ids.contains(text) || text.size() > kLongest || text.find(' ') != text.npos) continue;
    const std::size_t begin = merges.size(), n_characters = character_count(text);
    std::size_t n_left = 0;
    for (std::size_t at = 0; at < text.size(); ++n_left) {
      const auto left = ids.find(text.substr(0, at)), right = ids.find(text.substr(at));
      if (at > 0 && left != ids.end() && right != ids.end())
        merges.push_back(
            {tokens.scores[i], n_left, n_characters - n_left, left->second, right->second, text});
      at += static_cast<std::size_t>(utf8_at(text, at).bytes);
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(begin), merges.end(),
              [](const DerivedMerge& a, const DerivedMerge& b) {
                return a.left != b.left ? a.left < b.left : a.right < b.right;
              });
  }
  return merges;
}

}  // namespace

std::vector<std::string> merges_of_scores(const RestoredTokens& tokens) {
  auto merges = all_merges(tokens);
  std::stable_sort(merges.begin(), merges.end(), [](const DerivedMerge& a, const DerivedMerge& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left_length != b.left_length) return a.left_length > b.left_length;
    return a.right_length > b.right_length;
  });
  std::vector<std::string> lines;
  for (const DerivedMerge& merge : merges)
    lines.push_back(tokens.texts[merge.left] + " " + tokens.texts[merge.right]);
  return lines;
}

std::optional<ConfigFile> restored_sentencepiece(const RestoredTokens& tokens) {
  // What stands behind the pieces was declared elsewhere, or fills the embedding.
  std::size_t n = tokens.size();
  while (n > 0 &&
         (tokens.is_filler(n - 1) || (tokens.is_added(n - 1) && tokens.is_declared(n - 1))))
    --n;
  if (!tokens.unknown || static_cast<std::size_t>(*tokens.unknown) >= n) return std::nullopt;
  SentencePieceModel model;
  model.algorithm = 2;
  model.add_dummy_prefix = tokens.space_prefix != "never";
  model.remove_extra_whitespaces = tokens.removes_extra_whitespaces;
  using Type = SentencePieceModel::Type;
  for (std::size_t i = 0; i < n; ++i) {
    auto type = static_cast<Type>(tokens.types[i]);  // the same numbers
    if (static_cast<std::size_t>(*tokens.unknown) == i)
      type = Type::unknown;
    else if (type == Type::unknown)
      type = Type::control;  // there is one
    const bool spaces = type == Type::user_defined;
    model.pieces.push_back(
        {spaces ? replace_all(tokens.texts[i], " ", kMetaspace) : tokens.texts[i], tokens.scores[i],
         type});
  }
  model.unknown = *tokens.unknown;
  if (tokens.bos && static_cast<std::size_t>(*tokens.bos) < n) model.bos = *tokens.bos;
  if (tokens.eos && static_cast<std::size_t>(*tokens.eos) < n) model.eos = *tokens.eos;
  return ConfigFile{"tokenizer.model", sentencepiece_model_bytes(model)};
}

}  // namespace lq
