#include "lib/jobs/restore_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/convert_special.h"
#include "lib/jobs/convert_vocabulary.h"
#include "lib/text/pretokenizers.h"
#include "lib/text/tokenizer_keys.h"
#include "lib/text/unicode.h"
#include "lib/text/vocabulary.h"

namespace lq {
namespace {

using namespace tokenizer_keys;

constexpr float kDeclaredScore = -1000;  ///< that conversion gives tokens which are declared
constexpr std::string_view kTemplate = "tokenizer.chat_template";

/// Takes the vocabulary from the metadata; `tokenizer` was made of it, so that it is checked.
class TokenReader {
 public:
  TokenReader(const Metadata& metadata, const Tokenizer& tokenizer, Monitor& monitor)
      : metadata_(metadata), tokenizer_(tokenizer), monitor_(monitor) {}

  RestoredTokens read() {
    RestoredTokens t;
    t.file = metadata_.file_name();
    t.is_spm = metadata_.string(kModel) == "llama";
    const auto stored = metadata_.find_integers(kTokenType);
    for (TokenId id = 0; id < tokenizer_.size(); ++id) {
      t.texts.emplace_back(tokenizer_.token_text(id));
      if (utf8_valid_bytes(t.texts.back(), 0) != t.texts.back().size())
        fail(ErrorKind::input, t.file, ": ", kTokens, "[", id,
             "] is not UTF-8: ", quote(t.texts.back(), 60));
      const auto type = stored ? (*stored)[static_cast<std::size_t>(id)] : 0;
      t.types.push_back(type == 0 ? TokenType::normal : static_cast<TokenType>(type));
    }
    read_flags(t);
    if (t.is_spm)
      read_scores(t);
    else
      read_merges_of_file(t);
    t.bos = tokenizer_.bos();
    t.eos = tokenizer_.eos();
    t.adds_bos = tokenizer_.adds_bos();
    t.adds_eos = tokenizer_.adds_eos();
    read_unknown(t);
    read_rules(t);
    return t;
  }

 private:
  void read_flags(RestoredTokens& t) const {
    t.flags.assign(t.size(), 0);
    const auto stored = metadata_.find_integers(kAddedTokens);
    if (!stored) return;
    for (std::size_t i = 0; i + 1 < stored->size(); i += 2)  // checked by the tokenizer
      t.flags[static_cast<std::size_t>((*stored)[i])] = (*stored)[i + 1];
  }

  void read_scores(RestoredTokens& t) const {
    t.scores = *metadata_.find_floats(kScores);
    const float least = *std::min_element(t.scores.begin(), t.scores.end());
    std::size_t n_bytes = 0, n_least = 0;
    for (std::size_t i = 0; i < t.size(); ++i) {
      if (!std::isfinite(t.scores[i]))
        fail(ErrorKind::input, t.file, ": ", kScores, "[", i, "] is ", t.scores[i],
             "; expected a finite number");
      if (t.types[i] != TokenType::byte) continue;
      ++n_bytes;
      n_least += t.scores[i] == least;
    }
    t.scores_count_merges = n_bytes > 0 && n_least == n_bytes;
  }

  /// Merges without their tokens would keep the file from being loaded, and do nothing here.
  void read_merges_of_file(RestoredTokens& t) const {
    std::unordered_set<std::string_view> known(t.texts.begin(), t.texts.end());
    std::size_t n_dropped = 0;
    for (const std::string& merge : metadata_.strings(kMerges)) {
      const auto space = merge.find(' ', 1);  // there, as the tokenizer checked
      const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
      if (known.contains(left) && known.contains(right) && known.contains(left + right))
        t.merges.push_back(merge);
      else
        ++n_dropped;
    }
    if (n_dropped > 0)
      monitor_.warning(t.file + ": " + std::to_string(n_dropped) +
                       " merges have parts that are no tokens; they are left out");
  }

  void read_unknown(RestoredTokens& t) const {
    const auto id = metadata_.find_integer(kUnknown, INT64_MIN, INT64_MAX);
    const auto n = static_cast<std::int64_t>(t.size());
    if (id && *id >= 0 && *id < n) t.unknown = static_cast<TokenId>(*id);
    if (id || !t.is_spm) return;
    const auto found = std::find(t.types.begin(), t.types.end(), TokenType::unknown);
    if (found != t.types.end())
      t.unknown = static_cast<TokenId>(found - t.types.begin());
    else if (!t.is_added(0))
      return;
    else
      t.unknown = 0;  // as engines assume
  }

  void read_rules(RestoredTokens& t) const {
    const bool every = t.is_spm && metadata_.find_bool(kAddSpacePrefix).value_or(true);
    t.space_prefix = metadata_.find_string(kSpacePrefix).value_or(every ? "every" : "never");
    const auto* row =
        t.is_spm ? nullptr : find_pretokenizer(metadata_.find_string(kPre).value_or("default"));
    t.normal_form = metadata_.find_string(kNormalizer).value_or(row && row->nfc ? "nfc" : "none");
    t.removes_extra_whitespaces =
        t.is_spm && metadata_.find_bool(kRemoveExtraWhitespaces).value_or(false);
  }

  const Metadata& metadata_;
  const Tokenizer& tokenizer_;
  Monitor& monitor_;
};

/// The rest of the chat templates' keys: "tokenizer.chat_template.NAME".
Json chat_templates(const Metadata& metadata) {
  const auto main = metadata.find_string(kTemplate);
  Json list = Json::array();
  const std::string prefix = std::string(kTemplate) + ".";
  for (const auto& entry : metadata.entries())
    if (entry.key.starts_with(prefix))
      if (const auto text = metadata.find_string(entry.key))
        list.push_back({{"name", entry.key.substr(prefix.size())}, {"template", *text}});
  if (list.empty()) return main ? Json(*main) : Json();
  if (main) list.insert(list.begin(), {{"name", "default"}, {"template", *main}});
  return list;
}

class TokenizerFiles {
 public:
  TokenizerFiles(const Metadata& metadata, const ArchSpec& arch, Monitor& monitor)
      : metadata_(metadata), arch_(arch), monitor_(monitor) {}

  std::vector<ConfigFile> write(RestoredTokens tokens) {
    tokens_ = std::move(tokens);
    tokens_.is_spm ? write_spm() : write_byte_level();
    write_config();
    return std::move(files_);
  }

 private:
  void write_spm() {
    if (!tokens_.scores_count_merges) write_sentencepiece();
    // What only SentencePiece itself does.
    if (tokens_.removes_extra_whitespaces || tokens_.space_prefix == "first") return;
    warn_of_equal_scores();
    tokens_.merges = merges_of_scores(tokens_);
    has_json_ = true;
    add_json({.separates = separates()});
  }

  void write_sentencepiece() {
    if (tokens_.space_prefix == "first")
      monitor_.warning(tokens_.file +
                       ": does not say which pieces SentencePiece cuts out of the text first; "
                       "tokenizer.model has them as ordinary ones");
    if (auto file = restored_sentencepiece(tokens_))
      files_.push_back(std::move(*file));
    else
      monitor_.warning(tokens_.file +
                       ": has no unknown token, which SentencePiece files want; tokenizer.model "
                       "is not written");
  }

  void warn_of_equal_scores() const {
    const auto& scores = tokens_.scores;
    float least = 0, most = 0;
    bool any = false;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (tokens_.types[i] != TokenType::normal) continue;
      least = any ? std::min(least, scores[i]) : scores[i];
      most = any ? std::max(most, scores[i]) : scores[i];
      any = true;
    }
    if (any && least == most)
      monitor_.warning(tokens_.file + ": all tokens have the same score, so that the order of " +
                       "merges is lost; texts may be cut differently than by the original model");
  }

  void write_byte_level() {
    const auto name = metadata_.find_string(kPre).value_or("default");
    const auto* row = find_pretokenizer(name);
    std::vector<std::string> patterns;
    if (const auto own = metadata_.find_strings(kPrePatterns))
      patterns = *own;
    else if (row && row->name != "default" && row->spelling == Spelling::bytes)
      for (const char* pattern : patterns_of(*row)) patterns.emplace_back(pattern);
    const auto definition =
        patterns.empty() || tokens_.space_prefix.starts_with("first")
            ? OrderedJson()
            : definition_of_patterns(patterns, name, tokens_.space_prefix == "every-unless");
    if (definition.is_null()) return write_without_definition(name);
    const bool ignore = metadata_.find_bool(kIgnoreMerges).value_or(row && row->ignore_merges);
    has_json_ = true;
    add_json({.pre_tokenizer = &definition, .ignore_merges = ignore, .separates = separates()});
  }

  void write_without_definition(const std::string& name) {
    monitor_.warning(tokens_.file + ": the pre-tokenizer " + quote(name, 60) +
                     " has no known definition in Hugging Face's terms: vocab.json and merges.txt "
                     "are written, tokenizer.json is not; take it from the original model");
    std::string merges = "#version: 0.2\n";
    for (const std::string& merge : tokens_.merges) merges += merge + "\n";
    files_.push_back({"vocab.json", vocabulary_text(tokens_, "") + "\n"});
    files_.push_back({"merges.txt", std::move(merges)});
  }

  /// Conversion writes this key, false, when a second text begins as the first does.
  bool separates() const { return metadata_.has("tokenizer.ggml.add_sep_token"); }

  void add_json(const TokenizerJsonParts& parts) {
    files_.push_back({"tokenizer.json", tokenizer_json_text(tokens_, parts)});
  }

  void write_config() {
    Json config = {{"clean_up_tokenization_spaces", false}, {"tokenizer_class", class_name()}};
    for (const auto& [key, name] :
         {std::pair(kAddBos, "add_bos_token"), std::pair(kAddEos, "add_eos_token")})
      if (const auto flag = metadata_.find_bool(key)) config[name] = *flag;
    if (arch_.llama_vocabulary)
      if (const auto flag = metadata_.find_bool(kAddSpacePrefix))
        config["add_prefix_space"] = *flag;
    if (!has_json_ && tokens_.is_spm) config["legacy"] = tokens_.space_prefix != "first";
    for (const auto& [type, key] : special_token_keys()) write_token(type, key, config);
    const auto context = std::string(arch_.gguf_name) + ".context_length";
    config["model_max_length"] = metadata_.integer(context, 1, INT32_MAX);
    for (std::size_t i = 0; i < tokens_.size(); ++i)
      if (tokens_.is_added(i) && tokens_.is_declared(i))
        config["added_tokens_decoder"][std::to_string(i)] =
            Json::parse(added_token_json(tokens_, i, false).dump());
    if (auto templates = chat_templates(metadata_); !templates.is_null())
      config["chat_template"] = std::move(templates);
    files_.push_back({"tokenizer_config.json",
                      config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"});
  }

  /// The generic class takes tokenizer.json as it is.
  const char* class_name() const {
    return has_json_ || !tokens_.is_spm ? "PreTrainedTokenizerFast" : "LlamaTokenizer";
  }

  /// A named token. Classes have names of their own for those that are not said to be none.
  void write_token(std::string_view type, std::string_view key, Json& config) {
    constexpr std::string_view kAlways[] = {"bos", "eos", "unk", "pad"};
    constexpr std::string_view kSometimes[] = {"sep", "mask"};
    const std::string name = std::string(type) + "_token";
    const bool always =
        std::find(std::begin(kAlways), std::end(kAlways), type) != std::end(kAlways);
    if (!always &&
        std::find(std::begin(kSometimes), std::end(kSometimes), type) == std::end(kSometimes))
      return;
    auto id = metadata_.find_integer("tokenizer.ggml." + std::string(key) + "_token_id", INT64_MIN,
                                     INT64_MAX);
    if (type == "unk" && tokens_.unknown) id = *tokens_.unknown;
    if (tokens_.is_spm && type == "bos" && tokens_.bos) id = *tokens_.bos;
    if (tokens_.is_spm && type == "eos" && tokens_.eos) id = *tokens_.eos;
    // A model that does not begin texts with it may have none at all: only config.json names it.
    if (type == "bos" && !tokens_.adds_bos) id = std::nullopt;
    if (id && *id >= 0 && *id < static_cast<std::int64_t>(tokens_.size()))
      config[name] = tokens_.texts[static_cast<std::size_t>(*id)];
    else if (always)
      config[name] = nullptr;
  }

  const Metadata& metadata_;
  const ArchSpec& arch_;
  Monitor& monitor_;
  RestoredTokens tokens_;
  bool has_json_ = false;
  std::vector<ConfigFile> files_;
};

}  // namespace

bool RestoredTokens::is_filler(std::size_t id) const {
  return types[id] == TokenType::unused && texts[id] == "[PAD" + std::to_string(id) + "]";
}

bool RestoredTokens::is_added(std::size_t id) const {
  return types[id] == TokenType::control || types[id] == TokenType::user_defined ||
         types[id] == TokenType::unknown;
}

bool RestoredTokens::is_declared(std::size_t id) const {
  if (!is_spm || scores_count_merges) return true;
  if (types[id] == TokenType::user_defined) return true;
  const bool is_unknown = unknown && static_cast<std::size_t>(*unknown) == id;
  return types[id] == TokenType::control && (scores[id] == kDeclaredScore || is_unknown);
}

std::vector<ConfigFile> restored_tokenizer(const Metadata& metadata, const ArchSpec& arch,
                                           int n_vocab, Monitor& monitor) {
  const auto model = metadata.find_string(kModel);
  if (!model || (*model != "llama" && *model != "gpt2")) {
    monitor.warning(
        metadata.file_name() + ": " +
        (model ? "the tokenizer is of the kind " + quote(*model, 40) + ", which cannot be written"
               : std::string("has no tokenizer")) +
        ": weights and config.json are written, tokenizer files are not; take them "
        "from the original model");
    return {};
  }
  auto checked = metadata;
  if (*model == "gpt2" && !find_pretokenizer(metadata.find_string(kPre).value_or("default")))
    checked.set(kPre, Value::of_string("default"));
  const auto tokenizer = make_tokenizer(checked);
  if (tokenizer->size() > n_vocab)
    fail(ErrorKind::input, metadata.file_name(), ": ", kTokens, " has ", tokenizer->size(),
         " tokens; expected at most as many as token_embd.weight has rows, ", n_vocab);
  TokenizerFiles files(metadata, arch, monitor);
  return files.write(TokenReader(checked, *tokenizer, monitor).read());
}

}  // namespace lq
