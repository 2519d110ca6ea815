#include "lib/jobs/convert_special.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/io/text_file.h"

namespace lq {
namespace {

/// Types without a key are only warned about.
constexpr SpecialTokenKey kIdKeys[] = {
    {"bos", "bos"},       {"eos", "eos"},       {"unk", "unknown"},   {"sep", "seperator"},
    {"pad", "padding"},   {"mask", "mask"},     {"eot", "eot"},       {"eom", "eom"},
    {"prefix", "prefix"}, {"suffix", "suffix"}, {"middle", "middle"},
};
constexpr std::string_view kAddTypes[] = {"bos", "eos", "sep"};

/// False for what Python calls false.
bool holds(const Json& value) {
  return !value.is_null() && !(value.is_string() && value.get_ref<const std::string&>().empty()) &&
         !(value.is_structured() && value.empty()) && value != false;
}

/// Name of the special token that an item of a template stands for; null when it is text.
Json special_of(const Json& item) {
  if (!item.is_object() || !item.contains("SpecialToken")) return nullptr;
  const auto& token = item["SpecialToken"];
  return token.is_object() && token.contains("id") ? token["id"] : Json();
}

Json sequence_of(const Json& item) {
  if (!item.is_object() || !item.contains("Sequence")) return nullptr;
  const auto& sequence = item["Sequence"];
  return sequence.is_object() && sequence.contains("id") ? sequence["id"] : Json();
}

/// A value of an ordered list of pairs, set once or replaced in place.
template <class T>
void put(std::vector<std::pair<std::string, T>>& list, const std::string& key, const T& value) {
  for (auto& [k, v] : list)
    if (k == key) {
      v = value;
      return;
    }
  list.emplace_back(key, value);
}

class Special {
 public:
  Special(const HfFolder& folder, const SpecialOptions& options, Monitor& monitor)
      : folder_(folder), options_(options), monitor_(monitor), types_(options.types) {
    const auto config = folder.object("tokenizer_config.json");
    if (!config.empty()) config_ = *folder.json("tokenizer_config.json");
    const auto tokenizer = folder.object("tokenizer.json");
    if (!tokenizer.empty()) {
      read_normalizer(tokenizer.find("normalizer"), 0);
      read_post_processor(tokenizer);
    }
    if (!config_.empty()) {
      read_template();
      read_tokens(tokenizer.list("added_tokens"));
    }
    read_config(folder.object("config.json"));
    for (const auto& [type, id] : options.known) set_id(type, id);
  }

  void write(Metadata& metadata) const {
    if (options_.merges) {
      auto merges = read_merges(folder_, monitor_);
      if (merges.empty())
        monitor_.warning(folder_.path().string() + ": has no merges; the tokenizer will not work");
      else
        metadata.set("tokenizer.ggml.merges", Value::of_strings(std::move(merges)));
    }
    for (const auto& [type, id] : ids_)
      for (const auto& row : kIdKeys)
        if (row.type == type)
          metadata.set("tokenizer.ggml." + std::string(row.key) + "_token_id", Value::of_u32(id));
    for (const auto& [type, flag] : adds_)
      if (std::find(std::begin(kAddTypes), std::end(kAddTypes), type) != std::end(kAddTypes))
        metadata.set("tokenizer.ggml.add_" + type + "_token", Value::of_bool(flag));
    write_template(metadata);
    if (lowercase_)
      metadata.set("tokenizer.ggml.normalizer.lowercase", Value::of_bool(*lowercase_));
    if (strip_accents_)
      metadata.set("tokenizer.ggml.normalizer.strip_accents", Value::of_bool(*strip_accents_));
  }

 private:
  void set_id(const std::string& type, std::uint64_t id) {
    if (id > UINT32_MAX || (options_.n_vocab && id >= *options_.n_vocab)) {
      monitor_.warning(folder_.path().string() + ": the id " + std::to_string(id) + " of the " +
                       type + " token is outside the vocabulary; it is left out");
      return;
    }
    for (const auto& [known, value] : ids_)
      if (known == type) return;  // the first setting counts
    ids_.emplace_back(type, static_cast<std::uint32_t>(id));
  }

  void read_normalizer(const Json* normalizer, int depth) {
    if (!normalizer || !normalizer->is_object() || depth > 16) return;
    const auto type = normalizer->value("type", Json());
    if (type == "Lowercase") lowercase_ = true;
    if (type == "StripAccents") strip_accents_ = true;
    if (type == "BertNormalizer") {
      if (const auto& v = normalizer->value("lowercase", Json()); v.is_boolean())
        lowercase_ = v.get<bool>();
      if (const auto& v = normalizer->value("strip_accents", Json()); v.is_boolean())
        strip_accents_ = v.get<bool>();
    }
    if (type == "Sequence")
      if (const auto it = normalizer->find("normalizers");
          it != normalizer->end() && it->is_array())
        for (const auto& part : *it) read_normalizer(&part, depth + 1);
  }

  void read_post_processor(const JsonObject& tokenizer) {
    bos_ = config_.value("bos_token", Json());
    cls_ = config_.value("cls_token", Json());
    eos_ = config_.value("eos_token", Json());
    sep_ = config_.value("sep_token", Json());
    has_config_ = !config_.empty();
    if (has_config_ && !holds(bos_) && holds(cls_)) config_["bos_token"] = bos_ = cls_;
    if (has_config_ && !holds(eos_) && holds(sep_)) config_["eos_token"] = eos_ = sep_;
    const auto processor = tokenizer.object("post_processor");
    if (processor.empty()) return;
    if (const auto* list = processor.list("processors")) {
      for (const auto& part : *list) read_processor(part);
    } else {
      read_processor(*tokenizer.find("post_processor"));
    }
  }

  void read_processor(const Json& processor) {
    if (!processor.is_object()) return;
    const auto type = processor.value("type", Json());
    if (type == "RobertaProcessing") {
      for (const char* name : {"bos", "eos", "sep"}) put(adds_, name, true);
      const auto first = [&](const char* key, const Json& otherwise) {
        const auto it = processor.find(key);
        return it != processor.end() && it->is_array() && !it->empty() ? (*it)[0] : otherwise;
      };
      if (has_config_ && !holds(cls_)) config_["cls_token"] = cls_ = first("cls", bos_);
      if (has_config_ && !holds(sep_)) config_["sep_token"] = sep_ = first("sep", eos_);
    } else if (type == "TemplateProcessing") {
      const auto list = [&](const char* key) {
        const auto it = processor.find(key);
        return it != processor.end() && it->is_array() ? *it : Json::array();
      };
      Json first, last;
      if (const auto single = list("single"); single.size() > 1) {
        first = special_of(single.front());
        if (holds(first)) read_first(first);
        last = special_of(single.back());
        if (holds(last)) read_last(last);
      }
      read_pair(list("pair"), first, last);
    }
  }

  void read_first(const Json& first) {
    if (!has_config_) {
      bos_ = first;
    } else if (first != bos_ && first != cls_) {
      if (!holds(bos_)) config_["bos_token"] = bos_ = first;
      if (!holds(cls_)) config_["cls_token"] = cls_ = first;
    }
    put(adds_, "bos", first == bos_ || first == cls_);
  }

  void read_last(const Json& last) {
    if (!has_config_) {
      eos_ = last;
    } else if (last != eos_) {
      // The former end-of-text token lives on as end of turn, or end of message.
      for (const char* type : {"eot", "eom"}) {
        if (std::find(types_.begin(), types_.end(), type) != types_.end()) continue;
        types_.emplace_back(type);
        config_[std::string(type) + "_token"] = eos_;
        break;
      }
      config_["eos_token"] = eos_ = last;
    }
    put(adds_, "eos", last == eos_);
  }

  /// A (separators) B, after the tokens that begin and end the whole.
  void read_pair(const Json& pair, const Json& first, const Json& last) {
    std::size_t begin = 0, end = pair.size();
    if (end > begin && holds(first) && special_of(pair[begin]) == first) ++begin;
    if (end > begin && holds(last) && special_of(pair[end - 1]) == last) --end;
    if (end - begin < 3 || sequence_of(pair[begin]) != "A" || sequence_of(pair[end - 1]) != "B")
      return;
    ++begin;
    --end;
    const auto separates = [&](const Json& item) {
      const auto token = special_of(item);
      return holds(token) && (token == sep_ || token == eos_);
    };
    bool add = separates(pair[begin]) && !holds(last);
    if (end - begin == 2 && separates(pair[begin + 1])) add = true;
    put(adds_, "sep", add);
    if (add && !holds(sep_) && has_config_) config_["sep_token"] = eos_;
  }

  /// chat_template.jinja with its additional ones, or chat_template.json.
  Json template_files() const {
    if (folder_.has("chat_template.jinja")) {
      Json main = read_text(folder_.path() / "chat_template.jinja");
      std::set<std::filesystem::path> others;
      std::error_code ignored;
      for (const auto& entry : std::filesystem::directory_iterator(
               folder_.path() / "additional_chat_templates", ignored))
        if (entry.path().extension() == ".jinja") others.insert(entry.path());
      if (others.empty()) return main;
      auto list = Json::array({{{"name", "default"}, {"template", main}}});
      for (const auto& path : others)
        list.push_back({{"name", path.stem().string()}, {"template", read_text(path)}});
      return list;
    }
    const auto* value = folder_.object("chat_template.json").find("chat_template");
    return value ? *value : Json();
  }

  void read_template() {
    template_ = config_.contains("chat_template") ? config_["chat_template"] : template_files();
    if (template_.is_null() || template_.is_string() || template_.is_array()) return;
    monitor_.warning(folder_.file_name("tokenizer_config.json") +
                     ": chat_template is neither text nor a list; it is ignored");
    template_ = nullptr;
  }

  void read_tokens(const Json* added_tokens) {
    for (const auto& type : types_) {
      if (const auto it = config_.find("add_" + type + "_token");
          it != config_.end() && it->is_boolean())
        put(adds_, type, it->get<bool>());
      auto entry = config_.value(type + "_token", Json());
      if (entry.is_object()) entry = entry.value("content", Json());
      if (!entry.is_string() || !added_tokens) continue;
      for (const auto& token : *added_tokens) {
        if (!token.is_object() || token.value("content", Json()) != entry) continue;
        if (const auto id = token.value("id", Json()); id.is_number_unsigned())
          set_id(type, id.get<std::uint64_t>());
        break;
      }
    }
  }

  void read_config(const JsonObject& config) {
    const auto* text = config.find("text_config");
    for (const auto& type : types_) {
      const auto key = type + "_token_id";
      const auto* id = config.find(key);
      if (!id && text && text->is_object())
        if (const auto it = text->find(key); it != text->end()) id = &*it;
      if (!id || !id->is_number_integer()) continue;
      if (id->is_number_unsigned())
        set_id(type, id->get<std::uint64_t>());
      else
        monitor_.warning(config.where() + ": " + key + " is " + id->dump() + "; it is left out");
    }
  }

  void write_template(Metadata& metadata) const {
    if (template_.is_string()) write_default(template_.get<std::string>(), metadata);
    if (!template_.is_array()) return;
    std::vector<std::string> names;
    std::string main;
    for (const auto& choice : template_) {
      if (!choice.is_object()) continue;
      const auto text = choice.value("template", Json()), label = choice.value("name", Json());
      if (!text.is_string() || !label.is_string()) continue;
      auto name = label.get<std::string>();
      for (auto& c : name)
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) c = '_';
      if (name.empty()) continue;
      if (name == "default") {
        main = text.get<std::string>();
        continue;
      }
      metadata.set("tokenizer.chat_template." + name, Value::of_string(text.get<std::string>()));
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    if (!names.empty())
      metadata.set("tokenizer.chat_templates", Value::of_strings(std::move(names)));
    write_default(main, metadata);
  }

  static void write_default(const std::string& text, Metadata& metadata) {
    if (!text.empty()) metadata.set("tokenizer.chat_template", Value::of_string(text));
  }

  const HfFolder& folder_;
  const SpecialOptions& options_;
  Monitor& monitor_;
  std::vector<std::string> types_;
  Json config_ = Json::object();  ///< tokenizer_config.json with what was learned since
  bool has_config_ = false;
  Json bos_, cls_, eos_, sep_, template_;
  std::vector<std::pair<std::string, std::uint32_t>> ids_;
  std::vector<std::pair<std::string, bool>> adds_;
  std::optional<bool> lowercase_, strip_accents_;
};

/// One entry of tokenizer.json's merges as "left right".
std::string merge_of(const Json& entry, std::size_t index, const std::string& file) {
  // Line 1 of the text form is its version.
  const auto bad = [&](const std::string& found) {
    fail(ErrorKind::input, file, ": merges[", index, "] (line ", index + 1, ") is ", found,
         "; expected two parts; the file is damaged");
  };
  if (entry.is_string()) {
    auto text = entry.get<std::string>();
    const auto space = text.find(' ');
    if (space == 0 || space == text.npos || space + 1 == text.size() ||
        text.find(' ', space + 1) != text.npos)
      bad(quote(text));
    return text;
  }
  if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_string() ||
      entry[0] == "" || entry[1] == "")
    bad("a JSON " + std::string(entry.type_name()));
  std::string text;
  for (const auto& part : entry) {
    if (&part != &entry[0]) text += ' ';
    for (const char c : part.get_ref<const std::string&>())
      c == ' ' ? text += "\xC4\xA0" : text += c;  // a space inside a part is spelled U+0120
  }
  return text;
}

std::vector<std::string> merges_of_text(const HfFolder& folder, const std::string& file,
                                        Monitor& monitor) {
  constexpr std::string_view kSpaces = " \t\r\n\v\f";
  const auto content = read_text(folder.path() / file);
  std::vector<std::string> merges;
  std::size_t number = 0;
  for (std::size_t at = 0; at < content.size();) {
    const auto end = std::min(content.find('\n', at), content.size());
    const auto line = std::string_view(content).substr(at, end - at);
    at = end + 1;
    if (++number == 1 && line.starts_with('#')) continue;
    std::vector<std::string_view> parts;
    for (auto i = line.find_first_not_of(kSpaces); i != line.npos;) {
      const auto stop = std::min(line.find_first_of(kSpaces, i), line.size());
      parts.push_back(line.substr(i, stop - i));
      i = line.find_first_not_of(kSpaces, stop);
    }
    if (parts.size() == 2)
      merges.push_back(std::string(parts[0]) + " " + std::string(parts[1]));
    else if (!parts.empty())
      monitor.warning(folder.file_name(file) + ": line " + std::to_string(number) +
                      " does not have two parts; it is ignored");
  }
  return merges;
}

}  // namespace

std::span<const SpecialTokenKey> special_token_keys() { return kIdKeys; }

void add_special_tokens(const HfFolder& folder, const SpecialOptions& options, Metadata& metadata,
                        Monitor& monitor) {
  Special(folder, options, monitor).write(metadata);
}

std::vector<std::string> read_merges(const HfFolder& folder, Monitor& monitor) {
  std::vector<std::string> merges;
  const auto model = folder.object("tokenizer.json").object("model");
  if (const auto* list = model.list("merges"))
    for (const auto& entry : *list)
      merges.push_back(merge_of(entry, merges.size(), folder.file_name("tokenizer.json")));
  for (const char* file : {"merges.txt", "vocab.bpe"})
    if (merges.empty() && folder.has(file)) merges = merges_of_text(folder, file, monitor);
  return merges;
}

}  // namespace lq
