// Text of tokenizer.json. Vocabulary and merges are written line by line: they are too many for a
// JSON value that keeps its order.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/jobs/restore_tokenizer.h"
#include "lib/text/tokenizer_keys.h"
#include "lib/text/vocabulary.h"

namespace lq {
namespace {

/// The tokens that belong to the model's vocabulary. Added tokens that come right behind it do not;
/// their ids follow from their number, so that it has to have no gap before them.
std::vector<bool> in_vocabulary(const RestoredTokens& tokens) {
  const std::size_t n = tokens.size();
  std::vector<bool> inside(n);
  std::size_t end = 0;  // behind the last ordinary token
  for (std::size_t i = 0; i < n; ++i)
    if (!tokens.is_filler(i) && !tokens.is_added(i)) end = i + 1;
  bool gapless = true, over = false;
  for (std::size_t i = 0; i < n; ++i) {
    inside[i] = i < end && !tokens.is_filler(i);
    if (i < end) gapless = gapless && inside[i];
    if (i >= end && tokens.is_filler(i)) over = true;
    if (i >= end && over && tokens.is_added(i)) gapless = false;
  }
  if (!gapless)
    for (std::size_t i = 0; i < n; ++i) inside[i] = !tokens.is_filler(i);
  return inside;
}

OrderedJson byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

OrderedJson normalizer_of(const RestoredTokens& tokens) {
  OrderedJson parts = OrderedJson::array();
  if (tokens.normal_form != "none") {
    std::string form = tokens.normal_form;
    for (char& c : form) c = static_cast<char>(c - 'a' + 'A');
    parts.push_back({{"type", form}});
  }
  const std::string space(tokens.is_spm ? kMetaspace : " ");
  if (tokens.space_prefix == "every") parts.push_back({{"type", "Prepend"}, {"prepend", space}});
  const bool metaspace = tokens.space_prefix.ends_with("-unless");
  if (tokens.is_spm && !metaspace)
    parts.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}});
  if (parts.empty()) return nullptr;
  if (parts.size() == 1) return parts[0];
  return {{"type", "Sequence"}, {"normalizers", parts}};
}

/// Of a SentencePiece vocabulary: spaces in front of text that does not begin with one.
OrderedJson metaspace_of(const RestoredTokens& tokens) {
  if (!tokens.space_prefix.ends_with("-unless")) return nullptr;
  return {{"type", "Metaspace"},
          {"replacement", kMetaspace},
          {"prepend_scheme", tokens.space_prefix == "first-unless" ? "first" : "always"},
          {"split", false}};
}

OrderedJson decoder_of(const RestoredTokens& tokens) {
  if (!tokens.is_spm) {
    auto decoder = byte_level(true);
    decoder["add_prefix_space"] = true;
    return decoder;
  }
  OrderedJson parts = {
      {{"type", "Replace"}, {"pattern", {{"String", kMetaspace}}}, {"content", " "}},
      {{"type", "ByteFallback"}},
      {{"type", "Fuse"}}};
  if (tokens.space_prefix != "never")
    parts.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", parts}};
}

/// The tokens that begin and end a text, around it.
OrderedJson template_of(const RestoredTokens& tokens, bool separates) {
  if (!tokens.adds_bos && !tokens.adds_eos) return nullptr;
  OrderedJson special = OrderedJson::object();
  const auto token = [&](TokenId id, int type) -> OrderedJson {
    const auto& text = tokens.texts[static_cast<std::size_t>(id)];
    special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    return {{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* name, int type) -> OrderedJson {
    return {{"Sequence", {{"id", name}, {"type_id", type}}}};
  };
  OrderedJson single = OrderedJson::array(), second = OrderedJson::array();
  if (tokens.adds_bos) single.push_back(token(*tokens.bos, 0));
  single.push_back(sequence("A", 0));
  if (tokens.adds_eos) single.push_back(token(*tokens.eos, 0));
  if (tokens.adds_bos && separates) second.push_back(token(*tokens.bos, 1));
  second.push_back(sequence("B", 1));
  if (tokens.adds_eos) second.push_back(token(*tokens.eos, 1));
  OrderedJson pair = single;
  pair.insert(pair.end(), second.begin(), second.end());
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", special}};
}

OrderedJson post_processor_of(const RestoredTokens& tokens, bool separates) {
  const auto around = template_of(tokens, separates);
  if (tokens.is_spm) return around;
  if (around.is_null()) return byte_level(false);
  return {{"type", "Sequence"}, {"processors", {byte_level(false), around}}};
}

OrderedJson model_head(const RestoredTokens& tokens, bool ignore_merges) {
  OrderedJson unknown;
  if (tokens.is_spm && tokens.unknown)
    unknown = tokens.texts[static_cast<std::size_t>(*tokens.unknown)];
  const bool bytes =
      std::find(tokens.types.begin(), tokens.types.end(), TokenType::byte) != tokens.types.end();
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unknown},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", tokens.is_spm},
          {"byte_fallback", tokens.is_spm && bytes},
          {"ignore_merges", ignore_merges}};
}

/// Members of `object`, a line each.
std::string members_of(const OrderedJson& object, const std::string& indent) {
  std::string out;
  for (const auto& [key, value] : object.items())
    out += indent + OrderedJson(key).dump() + ": " + value.dump() + ",\n";
  return out;
}

}  // namespace

OrderedJson added_token_json(const RestoredTokens& tokens, std::size_t id, bool with_id) {
  const auto flag = [&](tokenizer_keys::AddedTokenFlag bit) {
    return (tokens.flags[id] & bit) != 0;
  };
  OrderedJson out;
  if (with_id) out["id"] = id;
  out["content"] = tokens.texts[id];
  out["single_word"] = flag(tokenizer_keys::kSingleWord);
  out["lstrip"] = flag(tokenizer_keys::kLstrip);
  out["rstrip"] = flag(tokenizer_keys::kRstrip);
  out["normalized"] = flag(tokenizer_keys::kNormalized);
  out["special"] = tokens.is_special(id);
  return out;
}

std::string vocabulary_text(const RestoredTokens& tokens, const std::string& indent) {
  const auto inside = in_vocabulary(tokens);
  std::string out = "{";
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!inside[i]) continue;
    out += (out.size() > 1 ? ",\n" : "\n") + indent + "  " + Json(tokens.texts[i]).dump() + ": " +
           std::to_string(i);
  }
  return out + "\n" + indent + "}";
}

std::string tokenizer_json_text(const RestoredTokens& tokens, const TokenizerJsonParts& parts) {
  OrderedJson added = OrderedJson::array();
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (tokens.is_added(i)) added.push_back(added_token_json(tokens, i, true));
  const OrderedJson head = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", normalizer_of(tokens)},
      {"pre_tokenizer", tokens.is_spm ? metaspace_of(tokens) : *parts.pre_tokenizer},
      {"post_processor", post_processor_of(tokens, parts.separates)},
      {"decoder", decoder_of(tokens)}};
  std::string merges = "[";
  for (const std::string& merge : tokens.merges)
    merges += (merges.size() > 1 ? ",\n" : "\n") + std::string(6, ' ') + Json(merge).dump();
  merges += "\n    ]";
  return "{\n" + members_of(head, "  ") + "  \"model\": {\n" +
         members_of(model_head(tokens, parts.ignore_merges), "    ") +
         "    \"vocab\": " + vocabulary_text(tokens, "    ") + ",\n    \"merges\": " + merges +
         "\n  }\n}\n";
}

}  // namespace lq
