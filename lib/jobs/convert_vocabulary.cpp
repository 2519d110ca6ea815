#include "lib/jobs/convert_vocabulary.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/io/mapped_file.h"
#include "lib/jobs/convert_special.h"
#include "lib/jobs/convert_tokens.h"
#include "lib/text/tokenizer.h"
#include "lib/text/tokenizer_keys.h"

namespace lq {
namespace {

class Vocabulary {
 public:
  Vocabulary(const HfFolder& folder, const VocabularyOptions& options, Metadata& metadata,
             Monitor& monitor)
      : folder_(folder),
        options_(options),
        metadata_(metadata),
        monitor_(monitor),
        tokenizer_(folder.object("tokenizer.json")) {}

  void write() {
    const bool llama = !options_.arch || options_.arch->llama_vocabulary;
    if (llama)
      if (const auto prefix = folder_.object("tokenizer_config.json").boolean("add_prefix_space"))
        metadata_.set(tokenizer_keys::kAddSpacePrefix, Value::of_bool(*prefix));
    write_first_source();
    if (llama) write_fixed_sizes();
    if (!options_.compat)
      add_own_tokenizer_keys(tokenizer_, sentencepiece_ ? &*sentencepiece_ : nullptr, own_patterns_,
                             metadata_, monitor_);
  }

 private:
  void write_first_source() {
    constexpr VocabularySource kAny[] = {VocabularySource::sentencepiece,
                                         VocabularySource::llama_hf, VocabularySource::byte_level};
    for (const auto source :
         options_.arch ? options_.arch->vocabulary : std::span<const VocabularySource>(kAny)) {
      switch (source) {
        case VocabularySource::sentencepiece:
          if (write_sentencepiece()) return;
          break;
        case VocabularySource::llama_hf:
          if (write_llama_hf()) return;
          break;
        case VocabularySource::byte_level:
          if (write_byte_level()) return;
          break;
      }
    }
    fail(ErrorKind::input, folder_.path().string(),
         ": has no tokenizer; expected tokenizer.model, tokenizer.json, or vocab.json with "
         "merges.txt");
  }

  void write_head(const char* model, const std::string& pre) {
    metadata_.set(tokenizer_keys::kModel, Value::of_string(model));
    metadata_.set(tokenizer_keys::kPre, Value::of_string(pre));
  }

  void write_spm(TokenTable table) {
    SpecialOptions special;
    special.n_vocab = table.size();
    write_head("llama", options_.pre.empty() ? "default" : options_.pre);
    metadata_.set(tokenizer_keys::kTokens, Value::of_strings(std::move(table.texts)));
    metadata_.set(tokenizer_keys::kScores, Value::of_f32s(std::move(table.scores)));
    metadata_.set(tokenizer_keys::kTokenType, Value::of_i32s(std::move(table.types)));
    add_special_tokens(folder_, special, metadata_, monitor_);
  }

  bool write_sentencepiece() {
    const auto path = options_.sentencepiece_file.empty() ? folder_.path() / "tokenizer.model"
                                                          : options_.sentencepiece_file;
    if (options_.sentencepiece_file.empty() && !folder_.has("tokenizer.model")) return false;
    const MappedFile file(path);
    sentencepiece_ = parse_sentencepiece_model(file.bytes(), path.string());
    const auto& model = *sentencepiece_;
    if (model.algorithm != 2)
      monitor_.warning(path.string() + ": is not a byte-pair model; texts will be cut differently");
    const auto n =
        static_cast<std::size_t>(options_.n_vocab.value_or(static_cast<int>(model.pieces.size())));
    if (model.pieces.size() > n)
      monitor_.warning(path.string() + ": has " + std::to_string(model.pieces.size()) +
                       " pieces, vocab_size is " + std::to_string(n) + "; the rest is left out");
    auto table = TokenTable::unused(n, -10000);
    for (std::size_t i = 0; i < std::min(n, model.pieces.size()); ++i) {
      using Type = SentencePieceModel::Type;
      const auto type = model.pieces[i].type;
      // User-defined pieces are written as normal ones.
      table.set(i, model.pieces[i].text, model.pieces[i].score,
                type == Type::unknown   ? TokenType::unknown
                : type == Type::control ? TokenType::control
                : type == Type::unused  ? TokenType::unused
                : type == Type::byte    ? TokenType::byte
                                        : TokenType::normal);
    }
    if (options_.sentencepiece_file.empty()) add_declared_pieces(table);
    write_spm(std::move(table));
    return true;
  }

  /// added_tokens.json, then added_tokens_decoder of tokenizer_config.json.
  void add_declared_pieces(TokenTable& table) {
    const auto fits = [&](std::int64_t id, const std::string& text) {
      const bool inside = id < static_cast<std::int64_t>(table.size());
      if (!inside)
        monitor_.warning(folder_.path().string() + ": the token " + quote(text, 60) + " has id " +
                         std::to_string(id) + ", vocab_size is " + std::to_string(table.size()) +
                         "; it is left out");
      return inside;
    };
    if (const auto extra = folder_.object("added_tokens.json"); !extra.empty())
      for (const auto& [text, value] : folder_.json("added_tokens.json")->items())
        if (const auto id = token_id(value, extra.where() + ": " + quote(text, 60)); fits(id, text))
          table.set(static_cast<std::size_t>(id), text, -1000, TokenType::user_defined);
    for (const auto& [id, token] : declared_tokens(folder_)) {
      if (!fits(id, token.text)) continue;
      if (token.special || looks_special(token.text))
        table.set(static_cast<std::size_t>(id), token.text, -1000, TokenType::control);
      else
        table.set(static_cast<std::size_t>(id), with_spaces(token.text), -1000,
                  TokenType::user_defined);
    }
  }

  /// tokenizer.json of SentencePiece origin: BPE over characters with bytes as a last resort.
  bool write_llama_hf() {
    const auto model = tokenizer_.object("model");
    if (model.empty() || model.string("type") != "BPE" ||
        !model.boolean("byte_fallback").value_or(false) ||
        tokenizer_.object("decoder").string("type") != "Sequence")
      return false;
    std::vector<bool> present;
    auto texts = base_vocabulary(vocab_of(model), model.where() + ": vocab", present);
    if (const auto gap = std::find(present.begin(), present.end(), false); gap != present.end())
      fail(ErrorKind::input, model.where(), ": vocab has no token with id ", gap - present.begin(),
           "; expected all ids from 0 to ", present.size() - 1);
    const auto scores = merge_scores(texts);
    const auto specials = named_specials(folder_, {"<s>", "</s>", "<unk>"});
    const auto added = added_tokens(tokenizer_);
    TokenTable table;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto it = added.find(static_cast<std::int64_t>(i));
      auto type = is_byte(texts[i])             ? TokenType::byte
                  : specials.contains(texts[i]) ? TokenType::control
                                                : TokenType::normal;
      // The reference forgets that such tokens are cut out of the text.
      if (type == TokenType::normal && it != added.end() && !options_.compat)
        type = it->second.special ? TokenType::control : TokenType::user_defined;
      table.push(std::move(texts[i]), scores[i], type);
    }
    for (const auto& [id, token] : added) {
      if (id < static_cast<std::int64_t>(present.size())) continue;
      if (id != static_cast<std::int64_t>(table.size()))
        fail(ErrorKind::input, tokenizer_.where(), ": added token ", quote(token.text, 60),
             " has id ", id, "; expected ", table.size(), ", the next free one");
      const bool special = specials.contains(token.text) || (token.special && !options_.compat);
      table.push(token.text, lowest_score_, special ? TokenType::control : TokenType::user_defined);
    }
    write_spm(std::move(table));
    return true;
  }

  static bool is_byte(std::string_view text) {
    return text.size() == 6 && text.starts_with("<0x") && text.ends_with(">") &&
           text.find_first_not_of("0123456789abcdefABCDEF", 3) == 5;
  }

  const Json& vocab_of(const JsonObject& model) const {
    const auto* vocab = model.find("vocab");
    if (!vocab) fail(ErrorKind::input, model.where(), ": vocab is missing");
    return *vocab;
  }

  /// Scores by which merging pieces gives what the list of merges gives.
  std::vector<float> merge_scores(const std::vector<std::string>& texts) {
    lowest_score_ = -1000;
    const auto merges = read_merges(folder_, monitor_);  // also checks them
    if (options_.compat) return std::vector<float>(texts.size(), lowest_score_);
    lowest_score_ = -static_cast<float>(merges.size());
    std::map<std::string_view, std::size_t> ids;
    for (std::size_t i = 0; i < texts.size(); ++i) ids.emplace(texts[i], i);
    std::vector<float> scores(texts.size(), lowest_score_);
    for (std::size_t i = merges.size(); i-- > 0;) {
      auto joined = merges[i];
      joined.erase(joined.find(' '), 1);
      const auto it = ids.find(joined);
      if (it == ids.end())
        fail(ErrorKind::input, tokenizer_.where(), ": merges[", i, "] yields ", quote(joined, 60),
             "; expected a token of the vocabulary; the file is damaged");
      scores[it->second] = -static_cast<float>(i);
    }
    return scores;
  }

  bool write_byte_level() {
    std::vector<bool> present;
    std::vector<std::string> texts;
    std::map<std::int64_t, AddedToken> added;
    if (const auto model = tokenizer_.object("model"); !tokenizer_.empty()) {
      if (const auto type = model.string("type"); type && *type != "BPE")
        fail(ErrorKind::unsupported, model.where(), ": type is ", quote(*type),
             "; supported is BPE");
      texts = base_vocabulary(vocab_of(model), model.where() + ": vocab", present);
      added = added_tokens(tokenizer_);
    } else {
      const auto* file = folder_.has("vocab.json") ? "vocab.json" : "encoder.json";
      if (!folder_.has(file)) return false;
      texts = base_vocabulary(*folder_.json(file), folder_.file_name(file), present);
    }
    complete_added(texts, present, added);
    std::size_t n = texts.size();
    if (!added.empty()) n = std::max(n, static_cast<std::size_t>(added.rbegin()->first) + 1);
    if (options_.n_vocab && n > static_cast<std::size_t>(*options_.n_vocab))
      fail(ErrorKind::input, folder_.path().string(), ": token ids go up to ", n - 1,
           "; expected less than vocab_size ", *options_.n_vocab, " of config.json");
    write_byte_level_keys(
        byte_level_table(texts, present, added,
                         static_cast<std::size_t>(options_.n_vocab.value_or(static_cast<int>(n)))));
    return true;
  }

  /// Added tokens that are declared elsewhere than in tokenizer.json, and flags that are.
  void complete_added(const std::vector<std::string>& texts, const std::vector<bool>& present,
                      std::map<std::int64_t, AddedToken>& added) {
    std::set<std::string> known;
    for (const auto& [id, token] : added) known.insert(token.text);
    for (const auto& [id, token] : declared_tokens(folder_)) {
      const auto i = static_cast<std::size_t>(id);
      const bool same_text = i < texts.size() && present[i] && texts[i] == token.text;
      if (const auto it = added.find(id); it != added.end()) {
        if (it->second.text == token.text) it->second = token;
      } else if (!known.contains(token.text) &&
                 (same_text ||
                  i == std::max(texts.size(),
                                added.empty()
                                    ? 0
                                    : static_cast<std::size_t>(added.rbegin()->first) + 1))) {
        added[id] = token;
      }
    }
    if (tokenizer_.empty())
      if (const auto extra = folder_.object("added_tokens.json"); !extra.empty())
        for (const auto& [text, value] : folder_.json("added_tokens.json")->items())
          added.try_emplace(token_id(value, extra.where() + ": " + quote(text, 60)),
                            AddedToken{text, false, true});
    const auto specials = tokenizer_.empty() ? named_specials(folder_, {"<|endoftext|>"})
                                             : named_specials(folder_, {});
    for (std::size_t i = 0; i < texts.size(); ++i)
      if (present[i] && specials.contains(texts[i]))
        added.try_emplace(static_cast<std::int64_t>(i), AddedToken{texts[i], true, false});
    for (auto& [id, token] : added)
      if (specials.contains(token.text)) token.special = true;
  }

  TokenTable byte_level_table(const std::vector<std::string>& texts,
                              const std::vector<bool>& present,
                              const std::map<std::int64_t, AddedToken>& added,
                              std::size_t n) const {
    auto table = TokenTable::unused(n, 0);
    for (std::size_t i = 0; i < texts.size(); ++i)
      if (present[i]) table.set(i, texts[i], 0, TokenType::normal);
    for (const auto& [id, token] : added) {
      const auto text = token.normalized ? token.text : through_byte_level(token.text);
      const bool special = token.special || looks_special(text);
      table.set(static_cast<std::size_t>(id), special ? text : with_spaces(text), 0,
                special ? TokenType::control : TokenType::user_defined);
    }
    return table;
  }

  void write_byte_level_keys(TokenTable table) {
    write_head("gpt2", "default");  // the name is replaced when it is known
    SpecialOptions special;
    special.merges = true;
    if (tokenizer_.empty() && !options_.compat) {
      const auto end = std::find(table.texts.begin(), table.texts.end(), "<|endoftext|>");
      if (end != table.texts.end())
        for (const char* type : {"bos", "eos"})
          special.known.emplace_back(type, static_cast<std::uint32_t>(end - table.texts.begin()));
    }
    metadata_.set(tokenizer_keys::kTokens, Value::of_strings(std::move(table.texts)));
    metadata_.set(tokenizer_keys::kTokenType, Value::of_i32s(std::move(table.types)));
    add_special_tokens(folder_, special, metadata_, monitor_);
    metadata_.set(tokenizer_keys::kPre, Value::of_string(find_pre()));
  }

  std::string find_pre() {
    if (!options_.pre.empty()) return options_.pre;
    const auto adds_bos = metadata_.find_bool(tokenizer_keys::kAddBos).value_or(false);
    const auto model_type = folder_.config().string("model_type").value_or("");
    if (const auto name = pre_of_definition(tokenizer_, model_type, adds_bos)) return *name;
    if (const auto name = pre_of_probe(metadata_)) return *name;
    if (options_.compat || tokenizer_.empty())
      fail(ErrorKind::unsupported, folder_.path().string(),
           ": the pre-tokenizer is not one that is known; name it with --pre");
    own_patterns_ = true;
    return "default";
  }

  /// Sizes of vocabulary that stand for one model each.
  void write_fixed_sizes() {
    const int n = options_.n_vocab.value_or(0);
    if (n == 32016) {  // CodeLlama: tokens for filling in the middle
      SpecialOptions special;
      special.types = {"prefix", "suffix", "middle", "eot"};
      special.known = {{"prefix", 32007}, {"suffix", 32008}, {"middle", 32009}, {"eot", 32010}};
      add_special_tokens(folder_, special, metadata_, monitor_);
    }
    if (n == 49152) metadata_.set(tokenizer_keys::kAddBos, Value::of_bool(false));
  }

  const HfFolder& folder_;
  const VocabularyOptions& options_;
  Metadata& metadata_;
  Monitor& monitor_;
  JsonObject tokenizer_;
  std::optional<SentencePieceModel> sentencepiece_;
  bool own_patterns_ = false;
  float lowest_score_ = -1000;
};

}  // namespace

void add_vocabulary(const HfFolder& folder, const VocabularyOptions& options, Metadata& metadata,
                    Monitor& monitor) {
  Vocabulary(folder, options, metadata, monitor).write();
}

}  // namespace lq
