// Our tokenizer keys: each is written only when the standard keys cannot say what a checkpoint does
// (the conditions stand in lib/text/tokenizer_keys.h).
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "lib/base/error.h"
#include "lib/jobs/convert_vocabulary.h"
#include "lib/text/pretokenizers.h"
#include "lib/text/tokenizer_keys.h"

namespace lq {
namespace {

using namespace tokenizer_keys;

/// The members of a Sequence (of Sequences) one after another; `list_key` names its list.
std::vector<JsonObject> flattened(const JsonObject& part, const char* list_key, int depth = 0) {
  if (part.empty()) return {};
  if (part.string("type") != "Sequence" || depth > 8) return {part};
  std::vector<JsonObject> out;
  if (const auto* list = part.list(list_key))
    for (const auto& item : *list)
      for (auto& inner : flattened({&item, part.where()}, list_key, depth + 1))
        out.push_back(std::move(inner));
  return out;
}

class OwnKeys {
 public:
  OwnKeys(const JsonObject& tokenizer, const SentencePieceModel* sentencepiece, Metadata& metadata)
      : tokenizer_(tokenizer),
        sentencepiece_(sentencepiece),
        metadata_(metadata),
        is_bpe_(metadata.string(kModel) == "gpt2"),
        row_(find_pretokenizer(metadata.string(kPre))),
        normalizers_(flattened(tokenizer.object("normalizer"), "normalizers")),
        pretokenizers_(flattened(tokenizer.object("pre_tokenizer"), "pretokenizers")) {}

  void write(bool own_patterns, Monitor& monitor) {
    if (!tokenizer_.empty()) {
      write_normalizer();
      write_space_prefix(prefix_of_tokenizer_json());
      if (is_bpe_) write_ignore_merges();
      if (own_patterns)
        metadata_.set(kPrePatterns, Value::of_strings(patterns_of_definition(tokenizer_)));
      write_added_tokens();
    } else if (sentencepiece_) {
      if (sentencepiece_->remove_extra_whitespaces)
        metadata_.set(kRemoveExtraWhitespaces, Value::of_bool(true));
      if (sentencepiece_->has_character_map)
        monitor.warning(
            "tokenizer.model normalises text by a table of characters, which is not stored");
      write_space_prefix(!sentencepiece_->add_dummy_prefix    ? "never"
                         : sentencepiece_->has_user_defined() ? "first"
                                                              : "every");
    }
  }

 private:
  void write_normalizer() {
    constexpr std::pair<std::string_view, std::string_view> kForms[] = {
        {"NFC", "nfc"}, {"NFD", "nfd"}, {"NFKC", "nfkc"}, {"NFKD", "nfkd"}};
    std::string_view form = "none";
    for (const auto& part : normalizers_)
      for (const auto& [type, name] : kForms)
        if (part.string("type") == type) form = name;
    const std::string_view assumed = is_bpe_ && row_ && row_->nfc ? "nfc" : "none";
    if (form != assumed) metadata_.set(kNormalizer, Value::of_string(std::string(form)));
  }

  std::string prefix_of_tokenizer_json() const {
    for (const auto& part : normalizers_)
      if (part.string("type") == "Prepend") return "every";
    for (const auto& part : pretokenizers_) {
      const auto type = part.string("type");
      const bool adds = part.boolean("add_prefix_space").value_or(type == "ByteLevel");
      if (type == "ByteLevel" && adds) return "every-unless";
      if (type != "Metaspace") continue;
      const auto scheme =
          part.string("prepend_scheme")
              .value_or(part.boolean("add_prefix_space").value_or(true) ? "always" : "never");
      return scheme == "always" ? "every-unless" : scheme == "first" ? "first-unless" : "never";
    }
    return "never";
  }

  void write_space_prefix(const std::string& prefix) {
    const bool standard = metadata_.find_bool(kAddSpacePrefix).value_or(!is_bpe_);
    if (prefix != (standard ? "every" : "never"))
      metadata_.set(kSpacePrefix, Value::of_string(prefix));
  }

  void write_ignore_merges() {
    const auto model = tokenizer_.object("model");
    const bool ignore = model.boolean("ignore_merges").value_or(false);
    const bool assumed = row_ && row_->ignore_merges;
    if (ignore == assumed) return;
    std::set<std::string_view> made;
    std::vector<std::string> joined;
    for (const auto& merge : *metadata_.view_strings(kMerges)) {
      joined.push_back(merge);
      joined.back().erase(joined.back().find(' '), 1);
    }
    made.insert(joined.begin(), joined.end());
    const auto* vocab = model.find("vocab");
    for (const auto& [text, id] : vocab->items()) {
      const bool long_enough = std::count_if(text.begin(), text.end(), [](char c) {
                                 return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
                               }) >= 2;
      if (!long_enough || made.contains(text) || is_added(text)) continue;
      metadata_.set(kIgnoreMerges, Value::of_bool(ignore));
      return;
    }
  }

  bool is_added(const std::string& text) {
    if (added_texts_.empty())
      if (const auto* list = tokenizer_.list("added_tokens"))
        for (const auto& token : *list) added_texts_.insert(token.value("content", ""));
    return added_texts_.contains(text);
  }

  void write_added_tokens() {
    std::map<std::int64_t, std::int64_t> flags_of;
    if (const auto* list = tokenizer_.list("added_tokens"))
      for (const auto& item : *list) {
        const JsonObject token(&item, tokenizer_.where() + ": added_tokens");
        const auto has = [&](const char* key) { return token.boolean(key).value_or(false); };
        std::int64_t flags = 0;
        if (has("lstrip")) flags |= kLstrip;
        if (has("rstrip")) flags |= kRstrip;
        if (has("single_word")) flags |= kSingleWord;
        if (has("normalized") && !normalizers_.empty()) flags |= kNormalized;
        if (flags != 0) flags_of[*token.integer("id", 0, INT32_MAX)] = flags;
      }
    const auto n = static_cast<std::int64_t>(metadata_.strings(kTokens).size());
    std::vector<std::int64_t> list;
    for (const auto& [id, flags] : flags_of)
      if (id < n) list.insert(list.end(), {id, flags});
    if (!list.empty()) metadata_.set(kAddedTokens, Value::of_i32s(std::move(list)));
  }

  const JsonObject& tokenizer_;
  const SentencePieceModel* sentencepiece_;
  Metadata& metadata_;
  bool is_bpe_;
  const PreTokenizerInfo* row_;
  std::vector<JsonObject> normalizers_, pretokenizers_;
  std::set<std::string> added_texts_;
};

}  // namespace

void add_own_tokenizer_keys(const JsonObject& tokenizer, const SentencePieceModel* sentencepiece,
                            bool own_patterns, Metadata& metadata, Monitor& monitor) {
  OwnKeys(tokenizer, sentencepiece, metadata).write(own_patterns, monitor);
}

}  // namespace lq
