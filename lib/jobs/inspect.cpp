#include "lib/jobs/inspect.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <variant>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/format/safetensors.h"
#include "lib/jobs/convert.h"
#include "lib/jobs/convert_folder.h"
#include "lib/jobs/importance_statistics.h"
#include "lib/jobs/stored_scheme.h"
#include "lib/text/tokenizer_keys.h"

namespace lq {
namespace {

constexpr std::size_t kShownElements = 6;

template <class T>
OrderedJson first_elements(const std::vector<T>& values, bool as_bool) {
  auto list = OrderedJson::array();
  for (std::size_t i = 0; i < std::min(values.size(), kShownElements); ++i) {
    if constexpr (std::is_arithmetic_v<T>) {
      if (as_bool) {
        list.push_back(values[i] != 0);
        continue;
      }
    }
    list.push_back(values[i]);
  }
  return list;
}

/// {"type": ..., "value": ...}, arrays with their first elements only.
OrderedJson json_of(const Value& value) {
  OrderedJson out;
  out["type"] = name_of(value.type);
  if (value.type != ValueType::array) {
    std::visit(
        [&](const auto& v) {
          if constexpr (std::is_arithmetic_v<std::decay_t<decltype(v)>> ||
                        std::is_same_v<std::decay_t<decltype(v)>, std::string>)
            out["value"] = v;
        },
        value.data);
    return out;
  }
  out["element"] = name_of(value.element);
  out["count"] = value.array_size();
  std::visit(
      [&](const auto& v) {
        if constexpr (requires { v.size(); } &&
                      !std::is_same_v<std::decay_t<decltype(v)>, std::string>)
          out["first"] = first_elements(v, value.element == ValueType::boolean);
      },
      value.data);
  return out;
}

OrderedJson metadata_json(const Metadata& metadata) {
  auto out = OrderedJson::object();
  for (const auto& [key, value] : metadata.entries()) out[key] = json_of(value);
  return out;
}

OrderedJson config_json(const std::filesystem::path& path) {
  auto out = OrderedJson::object();
  const HfFolder folder(path);
  if (const auto* config = folder.json("config.json"); config && config->is_object())
    for (const auto& [key, value] : config->items())
      out[key] = {{"type", value.type_name()}, {"value", OrderedJson::parse(value.dump())}};
  return out;
}

OrderedJson tokens_json(const Metadata& metadata) {
  auto out = OrderedJson::array();
  const auto* texts = metadata.view_strings(tokenizer_keys::kTokens);
  if (!texts) return out;
  const auto types = metadata.find_integers(tokenizer_keys::kTokenType);
  const auto scores = metadata.find_floats(tokenizer_keys::kScores);
  for (std::size_t i = 0; i < texts->size(); ++i) {
    OrderedJson token = {{"id", i}, {"text", (*texts)[i]}};
    if (types && i < types->size()) token["type"] = (*types)[i];
    if (scores && i < scores->size()) token["score"] = (*scores)[i];
    out.push_back(std::move(token));
  }
  return out;
}

/// What a tensor is stored as, also where that has no type here: "F8_E4M3".
std::string storage_of(const TensorSource& source, std::size_t index) {
  const auto* stored = dynamic_cast<const SafetensorsReader*>(&source);
  return stored ? std::string(stored->stored_as(index)) : traits(source.tensors()[index].type).name;
}

OrderedJson tensors_json(const TensorSource& source) {
  auto out = OrderedJson::array();
  for (std::size_t i = 0; i < source.tensors().size(); ++i) {
    const TensorInfo& t = source.tensors()[i];
    out.push_back({{"name", t.name},
                   {"shape", t.shape},
                   {"type", storage_of(source, i)},
                   {"bytes", t.bytes()}});
  }
  return out;
}

/// Everything, whatever the parts asked for.
class Facts {
 public:
  Facts(const std::filesystem::path& path, const InspectParts& parts, Monitor& monitor)
      : path_(path), is_folder_(std::filesystem::is_directory(path)), source_(open_source(path)) {
    if (is_folder_ && parts.tokens) {
      ConvertOptions options;
      options.input = path;
      options.vocab_only = true;
      vocabulary_ = plan_conversion(options, monitor).plan.metadata;
    }
    for (std::size_t i = 0; i < source_->tensors().size(); ++i) {
      const TensorInfo& t = source_->tensors()[i];
      elements_ += t.elements();
      bytes_ += t.bytes();
      auto& row = by_type_[storage_of(*source_, i)];
      ++row.first;
      row.second += t.bytes();
    }
  }

  const TensorSource& source() const { return *source_; }
  OrderedJson metadata() const {
    return is_folder_ ? config_json(path_) : metadata_json(source_->metadata());
  }
  OrderedJson tokens() const { return tokens_json(is_folder_ ? vocabulary_ : source_->metadata()); }

  OrderedJson totals() const {
    OrderedJson out;
    out["tensors"] = source_->tensors().size();
    out["parameters"] = elements_;
    out["tensor_bytes"] = bytes_;
    out["bits_per_weight"] =
        elements_ ? 8.0 * static_cast<double>(bytes_) / static_cast<double>(elements_) : 0.0;
    auto types = OrderedJson::object();
    for (const auto& [name, row] : by_type_)
      types[name] = {{"tensors", row.first}, {"bytes", row.second}};
    out["types"] = std::move(types);
    return out;
  }

  /// The values that people look for first.
  std::vector<std::pair<std::string, std::string>> summary() const {
    std::vector<std::pair<std::string, std::string>> rows;
    const auto all = metadata();
    const auto add = [&](const char* label, const std::string& key) {
      const auto it = all.find(key);
      if (it == all.end() || !it->contains("value")) return;
      const auto& value = (*it)["value"];
      rows.emplace_back(label,
                        value.is_string()
                            ? quote(value.get<std::string>())
                            : value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
    };
    if (is_folder_) {
      add("architecture", "architectures");
      add("layers", "num_hidden_layers");
      add("embedding", "hidden_size");
      add("heads", "num_attention_heads");
      add("key heads", "num_key_value_heads");
      add("context", "max_position_embeddings");
      add("vocabulary", "vocab_size");
      if (const auto schemes = read_stored_schemes(HfFolder(path_)))
        rows.emplace_back("quantized", schemes->text());
      return rows;
    }
    const auto arch = source_->metadata().find("general.architecture");
    const auto* name = arch ? std::get_if<std::string>(&arch->data) : nullptr;
    const auto prefix = name ? *name + "." : std::string();
    add("architecture", "general.architecture");
    add("name", "general.name");
    add("layers", prefix + "block_count");
    add("embedding", prefix + "embedding_length");
    add("heads", prefix + "attention.head_count");
    add("key heads", prefix + "attention.head_count_kv");
    add("context", prefix + "context_length");
    add("tokenizer", "tokenizer.ggml.model");
    add("pre-tokenizer", "tokenizer.ggml.pre");
    if (const auto* tokens = source_->metadata().find(tokenizer_keys::kTokens))
      rows.emplace_back("vocabulary", std::to_string(tokens->array_size()));
    return rows;
  }

 private:
  std::filesystem::path path_;
  bool is_folder_;
  std::unique_ptr<TensorSource> source_;
  Metadata vocabulary_;
  std::uint64_t elements_ = 0, bytes_ = 0;
  std::map<std::string, std::pair<std::size_t, std::uint64_t>> by_type_;
};

/// A value on one line.
std::string shown(const OrderedJson& entry) {
  const auto dump = [](const OrderedJson& value) {
    return value.is_string() ? quote(value.get_ref<const std::string&>())
                             : value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  };
  if (entry.contains("value")) return dump(entry["value"]);
  std::string out = "[";
  for (const auto& value : entry["first"]) out += (out.size() > 1 ? ", " : "") + dump(value);
  if (entry["count"] > entry["first"].size()) out += ", ...";
  return out + "] (" + entry["count"].dump() + ")";
}

void print_rows(const std::vector<std::vector<std::string>>& rows, std::ostringstream& out) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i)
      out << row[i]
          << (i + 1 < row.size() ? std::string(widths[i] - row[i].size() + 2, ' ') : "\n");
  }
}

}  // namespace

OrderedJson inspect_json(const std::filesystem::path& path, const InspectParts& parts,
                         Monitor& monitor) {
  if (is_importance_file(path) && !parts.tensors && !parts.metadata) return importance_json(path);
  const Facts facts(path, parts, monitor);
  const bool all = !parts.tensors && !parts.metadata && !parts.tokens;
  OrderedJson out;
  out["path"] = path.string();
  out["format"] = facts.source().format();
  out["files"] = OrderedJson::array();
  for (const auto& file : facts.source().files()) out["files"].push_back(file.string());
  if (parts.metadata || all) out["metadata"] = facts.metadata();
  if (parts.tensors || all) out["tensors"] = tensors_json(facts.source());
  if (parts.tokens) out["tokens"] = facts.tokens();
  out["totals"] = facts.totals();
  return out;
}

std::string inspect_text(const std::filesystem::path& path, const InspectParts& parts,
                         Monitor& monitor) {
  if (is_importance_file(path) && !parts.tensors && !parts.metadata) return importance_text(path);
  const Facts facts(path, parts, monitor);
  std::ostringstream out;
  std::vector<std::vector<std::string>> rows = {{"file", quote_unless_plain(path.string())},
                                                {"format", std::string(facts.source().format())}};
  for (const auto& [label, value] : facts.summary()) rows.push_back({label, value});
  const auto totals = facts.totals();
  rows.push_back({"parameters", totals["parameters"].dump()});
  rows.push_back({"tensors", totals["tensors"].dump()});
  rows.push_back({"tensor bytes", totals["tensor_bytes"].dump()});
  for (const auto& [type, row] : totals["types"].items())
    rows.push_back(
        {"  " + type, row["tensors"].dump() + " tensors, " + row["bytes"].dump() + " bytes"});
  print_rows(rows, out);
  if (parts.metadata) {
    rows = {{"key", "type", "value"}};
    const auto metadata = facts.metadata();
    for (const auto& [key, entry] : metadata.items())
      rows.push_back({quote_unless_plain(key), entry["type"].get<std::string>(), shown(entry)});
    out << "\n";
    print_rows(rows, out);
  }
  if (parts.tensors) {
    rows = {{"tensor", "type", "shape", "bytes"}};
    for (std::size_t i = 0; i < facts.source().tensors().size(); ++i) {
      const TensorInfo& t = facts.source().tensors()[i];
      rows.push_back({quote_unless_plain(t.name), storage_of(facts.source(), i),
                      shape_text(t.shape), std::to_string(t.bytes())});
    }
    out << "\n";
    print_rows(rows, out);
  }
  if (parts.tokens) {
    rows = {{"id", "type", "text"}};
    for (const auto& token : facts.tokens())
      rows.push_back({token["id"].dump(), token.contains("type") ? token["type"].dump() : "-",
                      quote(token["text"].get_ref<const std::string&>(), 400)});
    out << "\n";
    print_rows(rows, out);
  }
  return out.str();
}

}  // namespace lq
